"""Videos: MSR-VTT captions, MSRVTT-QA and MSVD-QA."""

from __future__ import annotations

from pathlib import Path

from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_datasets.base import Files, Folder, RecordSource
from mmadapt_datasets.files import read_list, read_object, read_text
from mmadapt_datasets.records import Record, fill, index_by, refuse_repeated


class MsrvttConfig(Files):
    """Options of MSR-VTT.

    Args:
        annotations: `train_val_videodatainfo.json` or `test_videodatainfo.json`.
        split: train, validate or test; None for all.
        videos: Folder of the clips.
        file_name: A clip's name.
    """

    annotations: str
    split: str | None = None
    videos: str
    file_name: str = "{video_id}.mp4"


class MsrvttSource(RecordSource):
    """One sample for each clip, with all its captions as references.

    Raises:
        DataError: with file and record: a caption of an unknown clip, a clip without captions.
    """

    Config = MsrvttConfig
    config: MsrvttConfig

    def __init__(self, config: MsrvttConfig) -> None:
        super().__init__(config)
        self.videos = Folder(config.videos, "video", config)
        whole = read_object(config.annotations)
        clips = index_by(whole.records("videos"), "video_id")
        self.captions: dict[str, list[str]] = {}
        sentences = whole.records("sentences")
        refuse_repeated(sentences, "sen_id")
        for sentence in sentences:
            identity = sentence.identity("video_id")
            if identity not in clips:
                raise sentence.fail(f"speaks of {identity}, which is not under 'videos'")
            self.captions.setdefault(identity, []).append(sentence.text("caption"))
        wanted = config.split
        self.keep(
            whole.file,
            (clip for clip in clips.values() if wanted is None or clip.text("split") == wanted),
        )

    def sample(self, record: Record) -> Sample:
        """A clip and what people said of it."""
        identity = record.identity("video_id")
        references = self.captions.get(identity)
        if not references:
            raise record.fail("has no caption under 'sentences'")
        return {
            "id": identity,
            "target": references[0] if len(references) == 1 else None,
            "references": references,
            "media": [self.videos.part(record, fill(self.config.file_name, record, ["video_id"]))],
        }


class VideoQaConfig(Files):
    """Options of MSRVTT-QA and MSVD-QA.

    Args:
        questions: `train_qa.json`, `val_qa.json` or `test_qa.json`.
        videos: Folder of the clips.
        mapping: MSVD's `youtube_mapping.txt`, two words a line: a clip's name and `vid` + number.
        file_name: A clip's name; default `video{video_id}.mp4`, with a mapping `{name}.avi`.
    """

    questions: str
    videos: str
    mapping: str | None = None
    file_name: str | None = None


class VideoQaSource(RecordSource):
    """One sample for each question about a clip.

    Raises:
        DataError: with file and record.
    """

    Config = VideoQaConfig
    config: VideoQaConfig

    def __init__(self, config: VideoQaConfig) -> None:
        super().__init__(config)
        self.videos = Folder(config.videos, "video", config)
        self.names = _mapping(Path(config.mapping)) if config.mapping else None
        self.keep(*read_list(config.questions))

    def sample(self, record: Record) -> Sample:
        """A question, its clip and its answer."""
        default = "video{video_id}.mp4" if self.names is None else "{name}.avi"
        name = fill(self.config.file_name or default, record, ["video_id"])
        if self.names is not None:
            clip = f"vid{record.identity('video_id')}"
            if clip not in self.names:
                raise record.fail(f"asks about {clip}, which {self.config.mapping} does not name")
            name = name.replace("{name}", self.names[clip])
        return {
            "id": record.identity("id"),
            "prompt": record.text("question"),
            "answers": [record.text("answer")],
            "references": [record.text("answer")],
            "media": [self.videos.part(record, name)],
        }


def _mapping(file: Path) -> dict[str, str]:
    """MSVD's clip names by `vid` + number."""
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(file)[1].splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] in names:
            raise DataError(file, number, "must have a clip's name and its own `vid` + number")
        names[words[1]] = words[0]
    return names
