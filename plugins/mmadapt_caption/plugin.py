"""Announces the caption head and the caption metrics."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_heads(register: Register) -> None:
    """Announce the head."""
    register(
        "caption", "mmadapt_caption.head:CaptionHead", "says what an image, clip or sound shows"
    )


@hookimpl
def register_metrics(register: Register) -> None:
    """Announce the metrics."""
    register("cider", "mmadapt_caption.metrics:Cider", "CIDEr-D of the COCO caption tools")
    register("bleu", "mmadapt_caption.metrics:Bleu", "BLEU-1 to BLEU-4 of the COCO caption tools")
    register("rouge_l", "mmadapt_caption.metrics:RougeL", "ROUGE-L of the COCO caption tools")
    register("meteor", "mmadapt_caption.meteor:Meteor", "METEOR 1.5; pip install 'mmadapt[java]'")
