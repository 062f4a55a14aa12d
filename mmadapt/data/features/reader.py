"""What loader workers ask the cache: whether a sample's features are there, so that no file is
decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.utils.data import get_worker_info

from mmadapt.data.cache import MemoryCache
from mmadapt.data.features.contents import Contents
from mmadapt.data.features.rows import row_bytes
from mmadapt.data.features.store import FeatureStore
from mmadapt.data.items import Cached
from mmadapt.types import Features, MediaPart

Sets = Mapping[str, Mapping[str, str]]  # by encoder, by fusion: the set's name


@dataclass(frozen=True)
class FeatureReader:
    """Finds what the fusions read of a sample.

    Args:
        store: the entries.
        contents: names media files.
        training: sets read in training (where mixed precision may run the encoders otherwise).
        evaluation: sets read elsewhere.
    """

    store: FeatureStore
    contents: Contents
    training: Sets
    evaluation: Sets

    def known(
        self,
        parts: Sequence[MediaPart],
        modalities: Mapping[str, str],
        *,
        training: bool,
        memory: MemoryCache | None = None,
    ) -> tuple[Cached, ...]:
        """What is known of a sample's media, for each encoder that reads any of them.

        Args:
            parts: the sample's media.
            modalities: by encoder.
            training: as in `MediaDataset`.
            memory: keeps what was read while its budget lasts.
        """
        places = list(enumerate(parts))
        found = (
            self.find(
                encoder,
                [(file, part) for file, part in places if part["type"] == modality],
                training=training,
                memory=memory,
            )
            for encoder, modality in modalities.items()
        )
        return tuple(known for known in found if known is not None)

    def find(
        self,
        encoder: str,
        files: Sequence[tuple[int, MediaPart]],
        *,
        training: bool,
        memory: MemoryCache | None = None,
    ) -> Cached | None:
        """What is known of the media that an encoder reads of a sample.

        Args:
            encoder: its name.
            files: the sample's media of its modality, each with its place among all.
            training: as in `MediaDataset`.
            memory: keeps what was read while its budget lasts.

        Returns:
            The name of the content, with the features where all fusions' are there; None for media
            that have no name.
        """
        sets = (self.training if training else self.evaluation).get(encoder, {})
        if not sets or not files:
            return None
        places = tuple((k, p.get("path"), p.get("start"), p.get("end")) for k, p in files)
        key = ("features", encoder, training, places)
        named = memory is not None and all(place[1] is not None for place in places)
        if memory is not None and named and (kept := memory.get(key)) is not None:
            return kept
        content = self.content(files)
        if content is None:
            return None
        rows: dict[str, Features] = {}
        counts: tuple[int, ...] = ()
        for fusion, name in sets.items():
            entry = self.store.get(name, content)
            if entry is None:
                return Cached(encoder, content)
            rows[fusion], counts = entry.features, entry.counts
        found = Cached(encoder, content, counts, rows)
        if memory is not None and named:
            worker = get_worker_info()
            copies = 1 if worker is None else worker.num_workers
            memory.put(key, found, row_bytes(rows) * copies)
        return found

    def content(self, files: Sequence[tuple[int, MediaPart]], *, read: bool = True) -> str | None:
        """One name for the content of several files and their places; None where one has none.

        Args:
            files: of a sample.
            read: hash files that are not known yet; otherwise such a sample has no name.
        """
        told = []
        for place, part in files:
            value = self.contents.of(part, read=read)
            if value is None:
                return None
            told.append([place, part["type"], value, part.get("start"), part.get("end")])
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:40]
