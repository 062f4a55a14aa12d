"""VQAv2: the official question and annotation files."""

from __future__ import annotations

from mmadapt.types import Sample
from mmadapt_datasets.base import Files, Folder, RecordSource
from mmadapt_datasets.files import read_object
from mmadapt_datasets.records import Record, index_by


class Vqav2Config(Files):
    """Options of VQAv2.

    Args:
        questions: `v2_OpenEnded_mscoco_*_questions.json`.
        annotations: `v2_mscoco_*_annotations.json`; None for a split whose answers are secret.
        images: Folder of the images.
        file_name: An image's name; `{image_id}` has 12 digits, `{data_subtype}` is the file's own.
    """

    questions: str
    annotations: str | None = None
    images: str
    file_name: str = "COCO_{data_subtype}_{image_id}.jpg"


class Vqav2Source(RecordSource):
    """One sample for each question, with the ten answers of the annotators.

    Raises:
        DataError: with file and record: a question without annotation or the other way round, an
            answer list that is missing or empty, an image that does not exist.
    """

    Config = Vqav2Config
    config: Vqav2Config

    def __init__(self, config: Vqav2Config) -> None:
        super().__init__(config)
        self.images = Folder(config.images, "image", config)
        whole = read_object(config.questions)
        self.subtype = str(whole.values.get("data_subtype", ""))
        questions = index_by(whole.records("questions"), "question_id")
        self.answers = None
        if config.annotations is not None:
            annotated = read_object(config.annotations).records("annotations")
            self.answers = index_by(annotated, "question_id")
            for identity, annotation in self.answers.items():
                if identity not in questions:
                    raise annotation.fail(f"answers question {identity}, which is not asked")
        self.keep(whole.file, questions.values())

    def sample(self, record: Record) -> Sample:
        """A question, its image and its answers."""
        identity = record.identity("question_id")
        name = self.config.file_name.replace("{data_subtype}", self.subtype)
        name = name.replace("{image_id}", f"{record.number('image_id'):012d}")
        sample: Sample = {
            "id": identity,
            "prompt": record.text("question"),
            "media": [self.images.part(record, name)],
        }
        if self.answers is not None:
            if identity not in self.answers:
                raise record.fail(f"question {identity} has no annotation")
            annotation = self.answers[identity]
            sample["answers"] = [
                answer.get("answer", str, "text") for answer in annotation.records("answers")
            ]
            sample["references"] = list(dict.fromkeys(sample["answers"]))
            sample["meta"] = {
                key: annotation.text(key)
                for key in ("question_type", "answer_type")
                if key in annotation.values
            }
        return sample
