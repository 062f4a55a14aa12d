"""Conversations about images: LLaVA's and ShareGPT's files, and LaVIN's `all_data.json`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from mmadapt.text import MEDIA_MARKER
from mmadapt.types import MediaPart, Sample
from mmadapt_datasets.base import Files, Folder, RecordSource
from mmadapt_datasets.files import read_json, read_list
from mmadapt_datasets.records import Record

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bing": "assistant",
    "chatgpt": "assistant",
    "system": "system",
}
IMAGE_MARKER = re.compile(r"\s*<image>\s*")


class LlavaConfig(Files):
    """Options of LLaVA-instruct and ShareGPT files.

    Args:
        path: The JSON file: a list of `{id, image, conversations: [{from, value}, ...]}`.
        images: Folder of the images; None where no record has one.
    """

    path: str
    images: str | None = None


class LlavaSource(RecordSource):
    """One sample for each conversation; `<image>` marks where its images stand.

    Several conversations may have one id in the published files; they are told apart by `#2`, ...

    Raises:
        DataError: with file and record: an unknown speaker, two turns of one speaker in a row, more
            markers than images, or images without a folder.
    """

    Config = LlavaConfig
    config: LlavaConfig

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        self.images = Folder(config.images, "image", config) if config.images else None
        file, records = read_list(config.path)
        self.ids = _distinct(records)
        self.keep(file, records)

    def sample(self, record: Record) -> Sample:
        """A conversation and its images."""
        names = record.values.get("image") or []
        if names:
            names = [names] if isinstance(names, str) else record.texts("image")
        if names and self.images is None:
            raise record.fail("has an image; say where with `images`")
        media = [self.images.part(record, name) for name in names] if self.images else []
        messages = [self._message(turn) for turn in record.records("conversations")]
        _check_turns(record, messages, len(media))
        said = [turn["content"] for turn in messages if turn["role"] == "assistant"]
        return {
            "id": self.ids[record.key],
            "messages": messages,
            "media": media,
            "references": said[-1:],
        }

    def _message(self, turn: Record) -> dict[str, Any]:
        speaker = turn.text("from")
        if speaker not in ROLES:
            raise turn.fail(f"is said by '{speaker}'; known are {', '.join(ROLES)}")
        text = IMAGE_MARKER.sub(f"{MEDIA_MARKER}\n", turn.get("value", str, "text"))
        return {"role": ROLES[speaker], "content": text.rstrip("\n")}


class LavinConfig(Files):
    """Options of LaVIN's instruction file.

    Args:
        path: `all_data.json`: an object of lists of records.
        subset: Which of its lists.
        images: Folder of the images of COCO's train2014.
        file_name: An image's name there.
        scienceqa_images: Folder of ScienceQA's images, whose `train/QID/image.png` is that of a
            record with `image_source: sqa`.
        empty_answers: `skip` leaves out records that answer nothing, of which the published file
            has some; `error` refuses them.
    """

    path: str
    subset: str = "all"
    images: str | None = None
    file_name: str = "COCO_train2014_{image}"
    scienceqa_images: str | None = None
    empty_answers: Literal["skip", "error"] = "skip"


class LavinSource(RecordSource):
    """One sample for each instruction, text-only ones among them.

    Raises:
        DataError: with file and record.
    """

    Config = LavinConfig
    config: LavinConfig

    def __init__(self, config: LavinConfig) -> None:
        super().__init__(config)
        self.coco, self.scienceqa = (
            Folder(folder, "image", config) if folder else None
            for folder in (config.images, config.scienceqa_images)
        )
        file, content = read_json(config.path)
        records = _subset(file, content, config.subset)
        if config.empty_answers == "skip":
            records = (record for record in records if record.values.get("answer") != "")
        self.keep(file, records)

    def sample(self, record: Record) -> Sample:
        """An instruction, its answer, perhaps an image."""
        sample: Sample = {
            "id": record.identity("qid"),
            "prompt": record.text("instruction"),
            "target": record.text("answer"),
            "references": [record.text("answer")],
            "media": [],
        }
        if record.values.get("image"):
            sample["media"] = [self._image(record)]
        return sample

    def _image(self, record: Record) -> MediaPart:
        if record.values.get("image_source") == "sqa":
            folder, option = self.scienceqa, "scienceqa_images"
            name = f"train/{record.identity('qid')}/{record.text('image')}"
        else:
            folder, option = self.coco, "images"
            name = self.config.file_name.replace("{image}", record.text("image"))
        if folder is None:
            raise record.fail(f"has an image; say where with `{option}`")
        return folder.part(record, name)


def _subset(file: Path, content: Any, name: str) -> Iterable[Record]:
    whole = Record(file, "all_data", content)
    for place, value in enumerate(whole.items(name)):
        yield Record(file, f"{name}[{place}]", value)


def _distinct(records: Iterable[Record]) -> dict[str, str]:
    """By place in the file, each record's id, made unlike those before it."""
    ids: dict[str, str] = {}
    seen: dict[str, int] = {}
    for place, record in enumerate(records):
        own = record.identity("id") if "id" in record.values else str(place)
        seen[own] = seen.get(own, 0) + 1
        ids[record.key] = own if seen[own] == 1 else f"{own}#{seen[own]}"
    return ids


def _check_turns(record: Record, messages: list[dict[str, Any]], num_media: int) -> None:
    roles = [message["role"] for message in messages if message["role"] != "system"]
    for place, (one, other) in enumerate(pairwise(roles)):
        if one == other:
            raise record.fail(
                f"has two turns of the {one} in a row (turns {place} and {place + 1})"
            )
    if "assistant" not in roles:
        raise record.fail("has no answer to learn from")
    markers = sum(message["content"].count(MEDIA_MARKER) for message in messages)
    if markers not in (0, num_media):
        raise record.fail(f"has {markers} <image> markers for {num_media} images")
