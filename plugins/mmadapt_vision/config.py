"""What a recipe may say of a vision encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Augment = Literal["none", "flip", "crop", "flip_crop", "randaugment"]


class PixelConfig(BaseModel):
    """The weights of a vision model and how pixels reach it; shared by all vision encoders."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="hub id, local folder, or an id such as embedded:vit")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the weights and the computation"
    )
    attn_implementation: str | None = Field(None, description="eager, sdpa, flash_attention_2, …")
    resize: Literal["model", "squash", "center_crop"] = Field(
        "model",
        description="the model's own way, or squashed to the size, or cut to its shape first",
    )
    mean_std: Literal["model", "imagenet", "clip", "half"] = Field(
        "model", description="constants of the normalisation; papers differ from the model's own"
    )
    augment: Augment = Field("none", description="of training samples")
    augment_scale: float = Field(
        0.5, gt=0, le=1, description="least share of the picture that a random crop keeps"
    )
    augment_ops: int = Field(2, ge=0, description="operations of randaugment for a picture")
    augment_magnitude: int = Field(5, ge=0, le=10, description="their strength")


class VitConfig(PixelConfig):
    """Options of `vit`."""

    image_size: int | None = Field(
        None, gt=0, description="pixels; positions are interpolated where it is not the model's own"
    )


class SamplingConfig(BaseModel):
    """Which frames of a clip are read."""

    model_config = ConfigDict(extra="forbid")

    sampling: Literal["uniform", "segment", "fps"] = Field(
        "uniform",
        description="evenly; one frame of each equal part, random in training; or at `fps`",
    )
    fps: float | None = Field(None, gt=0, description="frames a second, for sampling: fps")
    start: float | None = Field(None, ge=0, description="seconds; a sample's own start goes first")
    end: float | None = Field(None, gt=0, description="seconds; a sample's own end goes first")
    timeout: float = Field(60.0, gt=0, description="seconds that reading one file may take")

    @model_validator(mode="after")
    def _consistent(self) -> SamplingConfig:
        if (self.sampling == "fps") != (self.fps is not None):
            raise ValueError("sampling: fps and fps: go together; give both or neither")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start ({self.start}) must come before end ({self.end})")
        return self


class VitFramesConfig(VitConfig, SamplingConfig):
    """Options of `vit_frames`."""

    num_frames: int = Field(8, gt=0, description="frames of a clip")


class VideoConfig(PixelConfig, SamplingConfig):
    """Options of `video`."""

    num_frames: int | None = Field(
        None, gt=0, description="frames of a clip; default: the model's own"
    )
    layout: Literal["auto", "clip", "slots"] = Field(
        "auto",
        description="clip: one item, its CLS first, no grid; slots: an item with a grid for each"
        " time slot, without the CLS; auto: clip where the model has a CLS",
    )
