"""Which samples of a split have features still to be computed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from mmadapt.contracts import Source
from mmadapt.data.features.reader import FeatureReader
from mmadapt.types import MediaPart


@dataclass(frozen=True)
class Plan:
    """A split before it is encoded.

    Args:
        split: its name.
        source: its samples.
        missing: indices of samples, one for each set of media that is not in the cache yet.
        present: sets of media that are.
        uncached: samples whose media are values in memory, which have no name to keep them by.
    """

    split: str
    source: Source
    missing: Sequence[int]
    present: int
    uncached: int


def plan_split(
    split: str,
    source: Source,
    reader: FeatureReader,
    modalities: Mapping[str, str],
    *,
    progress: bool = True,
) -> Plan:
    """Reads a source through, its records alone, no media.

    A file that was never hashed counts as missing; whether its content is known by another name is
    found out when its turn comes.

    Args:
        split: its name.
        source: its samples.
        reader: of the cache.
        modalities: by encoder name.
        progress: show a bar where it takes long.
    """
    sets = reader.training if split == "train" else reader.evaluation
    seen: set[Hashable] = set()
    missing: list[int] = []
    present = uncached = 0
    bar = tqdm(
        range(len(source)), f"{split}: looking", delay=2, unit="sample", disable=not progress
    )
    for index in bar:
        media = source[index].get("media") or []
        places = tuple(_place(part) for part in media)
        if None in places:
            uncached += 1
            continue
        if places in seen or not media:
            continue
        seen.add(places)
        if all(
            _is_there(reader, names, [(k, p) for k, p in enumerate(media) if p["type"] == modality])
            for encoder, modality in modalities.items()
            if (names := sets.get(encoder))
        ):
            present += 1
        else:
            missing.append(index)
    return Plan(split, source, missing, present, uncached)


def _place(part: MediaPart) -> Hashable | None:
    value: Any = part.get("path") or part.get("value")
    if not isinstance(value, str | bytes):
        return None
    where = hash(value) if isinstance(value, bytes) else value
    return part["type"], where, part.get("start"), part.get("end")


def _is_there(
    reader: FeatureReader, names: Mapping[str, str], files: Sequence[tuple[int, MediaPart]]
) -> bool:
    if not files:
        return True
    content = reader.content(files, read=False)
    return content is not None and all(reader.store.has(name, content) for name in names.values())
