"""ScienceQA: `problems.json`, the split file and the image folders."""

from __future__ import annotations

from typing import Any

from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_datasets.base import Files, Folder, RecordSource
from mmadapt_datasets.files import read_object
from mmadapt_datasets.records import Record


class ScienceqaConfig(Files):
    """Options of ScienceQA.

    Args:
        problems: `problems.json`.
        splits: `pid_splits.json`; None takes each problem's own `split`.
        split: Name of the split.
        images: Folder that holds `train`, `val` and `test`, each with a folder for every problem.
        captions: `captions.json`, whose captions join the hint; None leaves them out.
        with_image: Only problems with an image (true), only those without (false), or all.
    """

    problems: str
    splits: str | None = None
    split: str
    images: str
    captions: str | None = None
    with_image: bool | None = None


class ScienceqaSource(RecordSource):
    """One sample for each problem: question, context, choices, the right one, perhaps an image.

    Raises:
        DataError: with file and problem id: a split that is unknown or names no problem, an answer
            beyond the choices, an image that does not exist.
    """

    Config = ScienceqaConfig
    config: ScienceqaConfig

    def __init__(self, config: ScienceqaConfig) -> None:
        super().__init__(config)
        self.images = Folder(config.images, "image", config)
        whole = read_object(config.problems)
        self.captions: dict[str, Any] = {}
        if config.captions is not None:
            captions = read_object(config.captions)
            self.captions = captions.get("captions", dict, "an object")
        chosen = [Record(whole.file, key, whole.values[key]) for key in self._keys(whole)]
        wanted = config.with_image
        if wanted is not None:
            chosen = [record for record in chosen if bool(record.values.get("image")) == wanted]
        self.keep(whole.file, chosen)

    def sample(self, record: Record) -> Sample:
        """A problem; `meta` holds what the official columns are counted by."""
        choices, answer = record.texts("choices"), record.number("answer")
        if not 0 <= answer < len(choices):
            raise record.fail(f"has the answer {answer}, but {len(choices)} choices (from 0)")
        image = record.values.get("image")
        hint = record.get("hint", str, "text") if record.values.get("hint") else ""
        context = " ".join(part for part in (hint, self._caption(record)) if part)
        sample: Sample = {
            "id": record.key,
            "prompt": record.text("question"),
            "choices": choices,
            "answers": [choices[answer]],
            "references": [choices[answer]],
            "media": [],
            "meta": {
                "context": context,
                "hint": hint,
                "has_image": image is not None,
                **{key: record.values.get(key) for key in ("subject", "grade", "topic")},
                **{key: record.values.get(key) for key in ("lecture", "solution")},
            },
        }
        if image is not None:
            folder = record.values.get("split", self.config.split)
            name = f"{folder}/{record.key}/{record.text('image')}"
            sample["media"] = [self.images.part(record, name)]
        return sample

    def _caption(self, record: Record) -> str:
        caption = self.captions.get(record.key) or ""
        if not isinstance(caption, str):
            raise DataError(self.config.captions or "", record.key, "has a caption that is no text")
        return caption

    def _keys(self, whole: Record) -> list[str]:
        if self.config.splits is None:
            return [
                key
                for key, value in whole.values.items()
                if Record(whole.file, key, value).text("split") == self.config.split
            ]
        splits = read_object(self.config.splits)
        keys = splits.texts(self.config.split)
        missing = next((key for key in keys if key not in whole.values), None)
        if missing is not None:
            raise splits.fail(
                f"'{self.config.split}' names problem {missing}, of which {whole.file} says nothing"
            )
        return keys
