"""The folder of rendered files: whole, shared between processes, one manifest for each split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from mmadapt.errors import DataError
from mmadapt_shapes.render import SUFFIXES, render, whole_file
from mmadapt_shapes.world import SPLITS, Medium, Split, caption, combinations

_MAKERS = ("world", "draw", "scenes", "tones", "render", "library")
_MEDIA: tuple[Medium, ...] = ("video", "image", "audio")


def cache_folder() -> Path:
    """Return where rendered files go: below ``$MMADAPT_CACHE``, else below ``~/.cache/mmadapt``."""
    root = os.environ.get("MMADAPT_CACHE") or Path.home() / ".cache" / "mmadapt"
    return Path(root) / "shapes" / version()


@cache
def version() -> str:
    """Return a hash of the code that makes the files: other code never meets these files."""
    here = Path(__file__).parent
    code = b"".join((here / f"{name}.py").read_bytes() for name in _MAKERS)
    return hashlib.sha256(code).hexdigest()[:12]


class Shelf:
    """The files of one medium and split, numbered from 0; file i shows combination i.

    The combinations come in an order shuffled by the seed and repeat from the beginning, each time
    in another place, size and shade. A longer shelf begins with the files of a shorter one.

    Args:
        medium: ``"video"``, ``"image"`` or ``"audio"``.
        split: Whose combinations.
        count: Number of files.
        seed: Decides the order and everything that is random in the files.
    """

    def __init__(self, medium: Medium, split: Split, count: int, seed: int) -> None:
        self.medium, self.split, self.count = medium, split, count
        self.seeds = [seed, _MEDIA.index(medium), SPLITS.index(split)]
        self.folder = cache_folder() / f"seed-{seed}" / medium / split
        kinds = combinations(medium, split)
        order = np.random.default_rng(self.seeds).permutation(len(kinds))
        self._kinds = [kinds[i] for i in order]

    def combination(self, index: int) -> dict[str, str]:
        """Return what file ``index`` shows."""
        return self._kinds[index % len(self._kinds)]

    def path(self, index: int) -> Path:
        """Return where file ``index`` is, rendered or not."""
        return self.folder / f"{index:05d}{SUFFIXES[self.medium]}"

    def render_missing(self) -> None:
        """Render every file that is not there yet, then write the manifest.

        Raises:
            DataError: the folder cannot be written.
        """
        try:
            missing = [i for i in range(self.count) if not self.path(i).exists()]
            if missing:
                self._render(missing)
            self._write_manifest()
        except OSError as error:
            reason = f"cannot write here ({error.strerror or error}): set MMADAPT_CACHE to a folder"
            raise DataError(self.folder, None, f"{reason} that can be written") from error

    def _render(self, indices: Sequence[int]) -> None:
        def one(index: int) -> None:
            render(self.medium, self.combination(index), [*self.seeds, index], self.path(index))

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            done = pool.map(one, indices)
            label = f"rendering shapes ({self.medium}, {self.split})"
            for _ in tqdm(done, total=len(indices), desc=label, unit="file", leave=False):
                pass

    def _write_manifest(self) -> None:
        """Write one line per file, unless a longer manifest is there already."""
        path = self.folder.with_name(f"{self.split}.jsonl")
        if path.exists() and len(path.read_bytes().splitlines()) >= self.count:
            return
        with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for index in range(self.count):
                shown = self.combination(index)
                name = f"{self.split}/{self.path(index).name}"
                words = caption(self.medium, shown)
                line = {"id": f"{self.split}-{index:05d}", self.medium: name, "caption": words}
                file.write(json.dumps({**line, **shown}) + "\n")
