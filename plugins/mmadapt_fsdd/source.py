"""Spoken digits: `recordings/{digit}_{speaker}_{index}.wav`, as published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mmadapt.contracts import Source
from mmadapt.errors import DataError, did_you_mean
from mmadapt.types import Sample

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_]+)_(?P<index>[0-9]+)\.wav")
_SLICE = r"^([0-9]+)?:([0-9]+)?$"


class FsddConfig(BaseModel):
    """Options of the source of spoken digits.

    Args:
        path: The dataset's folder, or the folder `recordings` in it.
        speakers: Whose recordings; default: everybody's.
        indices: A Python slice of the index in the file name, e.g. `"5:"`; default: all. The
            published split has `"0:5"` for the test and `"5:"` for training.
        limit: At most so many recordings, low indices first, all digits and speakers alike.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    speakers: Annotated[list[str], Field(min_length=1)] | None = None
    indices: Annotated[str, Field(pattern=_SLICE)] | None = None
    limit: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class Recording:
    """One file, and what its name says."""

    path: Path
    digit: int
    speaker: str
    index: int


class FsddSource(Source):
    """The Free Spoken Digit Dataset (Z. Jackson et al., CC BY-SA 4.0).

    A sample is a sound of someone who says a digit; its target is the word, its choices are the ten
    words. Samples come in the order of index, digit and speaker.

    Args:
        config: Where the recordings are and which of them.

    Raises:
        DataError: there is no such folder, or it holds none of the recordings asked for.

    Example:
        >>> config = FsddConfig(path="free-spoken-digit-dataset", speakers=["jackson"])
        >>> FsddSource(config)[7]["target"]  # doctest: +SKIP
        'seven'
    """

    Config = FsddConfig

    def __init__(self, config: FsddConfig) -> None:
        super().__init__(config)
        folder = Path(config.path).expanduser()
        found = _recordings(folder)
        found = _of_speakers(folder, found, config.speakers)
        self.recordings = _of_indices(folder, found, config.indices)[: config.limit]

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> Sample:
        recording = self.recordings[index]
        word = WORDS[recording.digit]
        return {
            "id": recording.path.stem,
            "origin": str(recording.path),
            "prompt": None,
            "target": word,
            "media": [{"type": "audio", "path": str(recording.path)}],
            "references": [word],
            "answers": [word],
            "choices": list(WORDS),
            "meta": {"speaker": recording.speaker, "index": recording.index},
        }


def _recordings(folder: Path) -> list[Recording]:
    """All recordings of a folder, in the order of index, digit, speaker."""
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "does not exist"
        raise DataError(folder, None, f"{reason}; `path` must name the folder of the recordings")
    inner = folder / "recordings"
    place = inner if inner.is_dir() else folder
    files = sorted(place.iterdir())
    named = [(path, _NAME.fullmatch(path.name)) for path in files]
    found = [
        Recording(path, int(name["digit"]), name["speaker"], int(name["index"]))
        for path, name in named
        if name
    ]
    if not found:
        here = ", ".join(path.name for path in files[:3]) or "nothing"
        reason = f"has no recordings named like 7_jackson_32.wav; it has {here}"
        raise DataError(place, None, reason)
    return sorted(
        found, key=lambda recording: (recording.index, recording.digit, recording.speaker)
    )


def _of_speakers(
    folder: Path, found: Sequence[Recording], speakers: Sequence[str] | None
) -> list[Recording]:
    if speakers is None:
        return list(found)
    known = sorted({recording.speaker for recording in found})
    for speaker in speakers:
        if speaker not in known:
            hint = did_you_mean(speaker, known)
            reason = f"has no recordings of the speaker '{speaker}'; it has {', '.join(known)}"
            raise DataError(folder, None, f"{reason}; {hint}" if hint else reason)
    return [recording for recording in found if recording.speaker in speakers]


def _of_indices(folder: Path, found: Sequence[Recording], indices: str | None) -> list[Recording]:
    if indices is None:
        return list(found)
    first, last = (int(text) if text else None for text in indices.split(":"))
    chosen = [
        recording
        for recording in found
        if (first or 0) <= recording.index and (last is None or recording.index < last)
    ]
    if not chosen:
        present = sorted({recording.index for recording in found})
        reason = f"has no recordings with indices '{indices}'; they are {present[0]}-{present[-1]}"
        raise DataError(folder, None, reason)
    return chosen
