"""Sounds: AudioCaps and Clotho captions."""

from __future__ import annotations

from mmadapt.types import Sample
from mmadapt_datasets.base import Files, Folder, RecordSource
from mmadapt_datasets.files import read_csv
from mmadapt_datasets.records import Record, fill, refuse_repeated

FIELDS = ("audiocap_id", "youtube_id", "start_time")


class AudiocapsConfig(Files):
    """Options of AudioCaps.

    Args:
        captions: `train.csv`, `val.csv` or `test.csv`.
        audio: Folder of the sounds, cut to their ten seconds.
        file_name: A sound's name, of `{youtube_id}`, `{audiocap_id}` and `{start_time}`; how the
            sounds are named depends on who fetched them.
    """

    captions: str
    audio: str
    file_name: str = "{youtube_id}.wav"


class AudiocapsSource(RecordSource):
    """One sample for each sound; validation and test have five captions of each.

    Raises:
        DataError: with file and line.
    """

    Config = AudiocapsConfig
    config: AudiocapsConfig

    def __init__(self, config: AudiocapsConfig) -> None:
        super().__init__(config)
        self.audio = Folder(config.audio, "audio", config)
        file, rows = read_csv(config.captions, (*FIELDS, "caption"))
        refuse_repeated(rows, "audiocap_id")
        self.captions: dict[str, list[str]] = {}
        first: dict[str, Record] = {}
        for row in rows:
            clip = f"{row.identity('youtube_id')}_{row.identity('start_time')}"
            first.setdefault(clip, row)
            self.captions.setdefault(clip, []).append(row.text("caption"))
        self.keep(file, first.values())

    def sample(self, record: Record) -> Sample:
        """A sound and what people said of it."""
        clip = f"{record.identity('youtube_id')}_{record.identity('start_time')}"
        references = self.captions[clip]
        return {
            "id": clip,
            "target": references[0] if len(references) == 1 else None,
            "references": references,
            "media": [self.audio.part(record, fill(self.config.file_name, record, FIELDS))],
        }


class ClothoConfig(Files):
    """Options of Clotho.

    Args:
        captions: `clotho_captions_development.csv` and its like.
        audio: Folder of the sounds.
    """

    captions: str
    audio: str


class ClothoSource(RecordSource):
    """One sample for each sound, with its five captions.

    Raises:
        DataError: with file and line.
    """

    Config = ClothoConfig
    config: ClothoConfig
    columns = tuple(f"caption_{number}" for number in range(1, 6))

    def __init__(self, config: ClothoConfig) -> None:
        super().__init__(config)
        self.audio = Folder(config.audio, "audio", config)
        self.keep(*read_csv(config.captions, ("file_name", *self.columns)))

    def sample(self, record: Record) -> Sample:
        """A sound and what people said of it."""
        name = record.text("file_name")
        return {
            "id": name,
            "target": None,
            "references": [record.text(column) for column in self.columns],
            "media": [self.audio.part(record, name)],
        }
