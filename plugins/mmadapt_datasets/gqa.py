"""GQA: the official question files."""

from __future__ import annotations

from mmadapt.types import Sample
from mmadapt_datasets.base import Files, Folder, RecordSource
from mmadapt_datasets.files import read_object
from mmadapt_datasets.records import Record, iterate


class GqaConfig(Files):
    """Options of GQA.

    Args:
        questions: `train_balanced_questions.json` and its like: an object keyed by question id.
        images: Folder of the images.
        file_name: An image's name.
    """

    questions: str
    images: str
    file_name: str = "{imageId}.jpg"


class GqaSource(RecordSource):
    """One sample for each question, with its short answer.

    Raises:
        DataError: with file and question id.
    """

    Config = GqaConfig
    config: GqaConfig

    def __init__(self, config: GqaConfig) -> None:
        super().__init__(config)
        self.images = Folder(config.images, "image", config)
        whole = read_object(config.questions)
        self.keep(whole.file, iterate(whole))

    def sample(self, record: Record) -> Sample:
        """A question, its image, and its answer where the split tells it."""
        name = self.config.file_name.replace("{imageId}", record.identity("imageId"))
        sample: Sample = {
            "id": record.key,
            "prompt": record.text("question"),
            "media": [self.images.part(record, name)],
        }
        if "answer" in record.values:
            sample["answers"] = sample["references"] = [record.text("answer")]
        if "types" in record.values:
            types = Record(record.file, f"{record.key}.types", record.values["types"])
            sample["meta"] = {
                key: value for key, value in types.values.items() if isinstance(value, str)
            }
        return sample
