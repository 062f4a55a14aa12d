"""What a recipe may say of the fusion `evlm`.

The published numbers are the defaults. Where the paper is silent, the option's description says so
and gives the reason of our default; `departures()` names every such choice that is not the default.
Fixed, as in Flamingo's released code, since nothing is said: the norm comes first, no biases, no
positions on keys and values, scalar gates in float32 that start at zero, no dropout.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic import NonNegativeInt as Index

Phase = Literal["end", "start", "linspace"]
Visible = Literal["immediate", "video_all", "all_previous"]
Norm = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu", "relu", "silu"]
SILENT = "paper silent: "


class MoeConfig(BaseModel):
    """Options of the mixture of experts that may take the place of every feed-forward part."""

    model_config = ConfigDict(extra="forbid")

    num_replicas: PositiveInt = Field(4, description="copies of the dense feed-forward part")
    num_slices: PositiveInt = Field(4, description="experts that each copy is cut into")
    top_k: PositiveInt = Field(4, description="experts that each token is sent to")
    normalize: bool = Field(
        False,
        description=SILENT + "divide the chosen gates by their sum; raw gates, as DeepSeekMoE has "
        "them, keep an upcycled start close to the dense model",
    )
    scale: PositiveFloat = Field(1.0, description=SILENT + "factor on the routed sum")
    world: Literal["full", "slice", "none"] = Field(
        "full",
        description=SILENT + "width of the expert that every token passes: that of the dense part, "
        "so that it can start as its copy, or that of one slice",
    )
    router_std: PositiveFloat = Field(
        0.1,
        description=SILENT + "standard deviation of the router's logits at the start; zero would "
        "tie all experts, and sharp gates lead an upcycled start away from the dense model",
    )
    balance: Literal["per_layer", "hf_pooled", "none"] = Field(
        "per_layer",
        description=SILENT + "load balancing in each layer, or over the counts of all layers "
        "together as in transformers",
    )
    balance_coefficient: NonNegativeFloat = Field(
        0.0025,
        description=SILENT + "in the units of transformers, where even load has the loss top_k; "
        "equals 0.01 in those of DeepSeekMoE at top_k 4",
    )
    z_loss_coefficient: NonNegativeFloat = Field(
        0.0, description=SILENT + "of the mean squared logsumexp of router logits; 0.001 is usual"
    )
    upcycle_from: str | None = Field(
        None, description="folder of a trained dense adapter to start from"
    )
    start: Literal["copy", "exact"] = Field(
        "copy",
        description=SILENT + "copy: the world expert is the dense part and the router random; "
        "exact: tied router rows and a silent world expert, so that nothing changes at first",
    )

    @property
    def num_experts(self) -> int:
        """Routed experts in all."""
        return self.num_replicas * self.num_slices

    @model_validator(mode="after")
    def _possible(self) -> MoeConfig:
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k: {self.top_k} of only {self.num_experts} experts")
        wanted = {"top_k": self.num_slices, "normalize": True, "scale": float(self.num_slices)}
        wrong = [key for key, value in wanted.items() if getattr(self, key) != value]
        if self.start == "exact" and wrong:
            lines = ", ".join(f"{key}: {str(wanted[key]).lower()}" for key in wrong)
            raise ValueError(f"start: exact needs {lines}")
        return self


class EvlmConfig(BaseModel):
    """Options of `evlm`; the defaults are the published settings and, where silent, our choices."""

    model_config = ConfigDict(extra="forbid")

    num_levels: PositiveInt = Field(8, description="feature levels read from the encoder")
    span: PositiveInt | None = Field(
        None,
        description="the last so many blocks, in which the levels lie evenly; published: 40 of 64; "
        "null: the same share of any encoder",
    )
    phase: Phase = Field(
        "end",
        description=SILENT + "where in its part of the span a level lies; end contains the last "
        "block, start the first, linspace both",
    )
    level_map: Literal["contiguous", "round_robin"] | list[Index] = Field(
        "contiguous",
        description=SILENT + "level of each gated layer; contiguous, shallow to deep, is what "
        "'sequentially' says; a list names them one by one",
    )
    levels: Literal["split", "concat"] = Field(
        "split", description="one level for each layer, as published, or all of them for all"
    )
    keep_cls: bool = Field(
        True, description=SILENT + "keep prefix tokens: the published sequence lengths count CLS"
    )
    media_norm: Literal["none", "layernorm"] = Field(
        "none",
        description=SILENT + "a learned norm on each level; none is mentioned, though raw levels "
        "differ in scale",
    )
    num_tokens: PositiveInt = Field(16, description="learnable tokens that stand for an item")
    share_tokens: bool = Field(
        True, description=SILENT + "one set of tokens for all items, or one for each encoder"
    )
    token_std: PositiveFloat = Field(0.02, description=SILENT + "normal start of the tokens")
    every: PositiveInt = Field(
        1, description="a gated layer before every n-th LM layer: n-1, 2n-1, ... as OpenFlamingo"
    )
    attention_ratio: Annotated[float, Field(gt=0)] = Field(
        0.2, description="attention width, in LM widths, rounded to whole heads"
    )
    head_dim: PositiveInt = Field(
        64, description=SILENT + "width of a head; 64 as in Flamingo, 16 heads at LM width 5120"
    )
    mlp_ratio: Annotated[float, Field(gt=0)] = Field(
        0.5, description="width of the feed-forward part, in LM widths"
    )
    activation: Activation = Field(
        "gelu", description=SILENT + "of the feed-forward part; exact GELU as in Flamingo"
    )
    norm: Norm = Field("layernorm", description=SILENT + "before both parts; as in Flamingo")
    qk_norm: bool = Field(
        False, description=SILENT + "RMS norm of queries and keys per head against growing logits"
    )
    visible: Visible = Field(
        "video_all",
        description="what text sees: the previous image, or all frames of the previous video "
        "(published); the previous item, a last frame, only; or all items before",
    )
    zero_pad: Index = Field(
        0,
        description=SILENT + "0: text without media attends to nothing, as in OpenFlamingo; n: so "
        "many zero vectors stand beside the media for everyone",
    )
    cache_kv: bool = Field(
        True, description="keep each layer's keys and values; false: project them at every step"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute the gated layers in the backward pass"
    )
    moe: MoeConfig | None = Field(None, description="experts in place of the feed-forward parts")
