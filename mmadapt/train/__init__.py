"""Training: `transformers.Trainer` over the composed model, and the run around it."""

from mmadapt.train.run import train

__all__ = ["train"]
