"""COCO captions: the official annotation file, or Karpathy's split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from mmadapt.types import Sample
from mmadapt_datasets.base import Files, Folder, RecordSource
from mmadapt_datasets.files import read_object
from mmadapt_datasets.records import Record, index_by


class CocoConfig(Files):
    """Options of COCO captions.

    Args:
        annotations: `captions_train2014.json` and its like, or Karpathy's `dataset_coco.json`.
        images: Folder of the images. For Karpathy's file, the one that holds `train2014` and
            `val2014`.
        split: Karpathy's split; unused with an official file.
        restval: With split train, the `restval` images too, as most papers have it.
    """

    annotations: str
    images: str
    split: Literal["train", "val", "test"] | None = None
    restval: bool = True


class CocoSource(RecordSource):
    """One sample for each image, with all its captions as references.

    Raises:
        DataError: with file and record: a caption of an unknown image, an image without captions
            in Karpathy's file, a file that does not exist.
    """

    Config = CocoConfig
    config: CocoConfig

    def __init__(self, config: CocoConfig) -> None:
        super().__init__(config)
        self.images = Folder(config.images, "image", config)
        whole = read_object(config.annotations)
        self.karpathy = "annotations" not in whole.values
        self.captions: dict[str, list[str]] = {}
        records = self._karpathy(whole) if self.karpathy else self._official(whole)
        self.keep(whole.file, records)

    def sample(self, record: Record) -> Sample:
        """An image and what people said of it."""
        if self.karpathy:
            name = f"{record.text('filepath')}/{record.text('filename')}"
            identity = record.identity("cocoid" if "cocoid" in record.values else "imgid")
            references = [sentence.text("raw") for sentence in record.records("sentences")]
        else:
            name, identity = record.text("file_name"), record.identity("id")
            references = self.captions.get(identity, [])
            if not references:
                raise record.fail("has no caption under 'annotations'")
        return {
            "id": identity,
            "target": references[0] if len(references) == 1 else None,
            "references": [" ".join(text.split()) for text in references],
            "media": [self.images.part(record, name)],
        }

    def _official(self, whole: Record) -> Iterable[Record]:
        images = index_by(whole.records("images"), "id")
        if self.config.split is not None:
            raise whole.fail("is an official file, which is one split; leave `split` out")
        annotations = whole.records("annotations")
        index_by(annotations, "id")
        for annotation in annotations:
            identity = annotation.identity("image_id")
            if identity not in images:
                raise annotation.fail(f"speaks of image {identity}, which is not under 'images'")
            self.captions.setdefault(identity, []).append(annotation.text("caption"))
        return images.values()

    def _karpathy(self, whole: Record) -> Iterable[Record]:
        wanted = {self.config.split}
        if self.config.split == "train" and self.config.restval:
            wanted.add("restval")  # type: ignore[arg-type]
        if self.config.split is None:
            raise whole.fail("is Karpathy's file; say which `split`: train, val or test")
        return (image for image in whole.records("images") if image.text("split") in wanted)
