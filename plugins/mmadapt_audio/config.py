"""What a recipe may say of an audio encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AudioConfig(BaseModel):
    """The weights of an audio model and how sound is cut; shared by all audio encoders."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="hub id, local folder, or an id such as embedded:ast")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the weights and the computation"
    )
    attn_implementation: str | None = Field(None, description="eager, sdpa, flash_attention_2, …")
    segments: int = Field(
        1,
        ge=1,
        description="a longer sound is cut into at most so many consecutive segments, each an "
        "item; what follows the last is not heard",
    )
    timeout: float = Field(60.0, gt=0, description="seconds that reading one file may take")


class AstConfig(AudioConfig):
    """Options of `ast`."""

    mean: float | None = Field(
        None, description="of the normalisation; default: the model's own, AudioSet's is -4.2677393"
    )
    std: float | None = Field(
        None, gt=0, description="likewise; AudioSet's is 4.5689974, and values are divided by twice"
    )
    frequency_mask: int = Field(
        0, ge=0, description="SpecAugment in training: widest band of mel bins; eP-ALM uses 24"
    )
    time_mask: int = Field(
        0, ge=0, description="SpecAugment in training: longest stretch of frames; eP-ALM uses 96"
    )


class WhisperConfig(AudioConfig):
    """Options of `whisper`."""

    max_seconds: float = Field(
        30.0, ge=0.1, le=30, description="of a segment; at 50 tokens a second, 30 s are 1500 tokens"
    )
    context_seconds: float = Field(
        30.0,
        ge=0,
        le=30,
        description="attention sees the sound and silence behind it up to at least so much; 30: "
        "the published encoding; 0: the sound alone; the cost grows with it",
    )
    lead_seconds: float = Field(
        0.0,
        ge=0,
        le=10,
        description="silence put before the sound; a recording that is cut off at its first sample "
        "is heard better after some, such as 0.3",
    )
    padding: Literal["batch", "max_seconds"] = Field(
        "batch",
        description="batch: as many tokens as the longest sound of a batch has, no fixed grid; "
        "max_seconds: as many as `max_seconds` has, a grid (1, tokens), the rest masked",
    )
