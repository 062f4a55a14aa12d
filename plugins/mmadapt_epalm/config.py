"""What a recipe may say of the fusion `epalm`; the defaults are the published settings."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


class EpalmConfig(BaseModel):
    """Options of `epalm`; layers are counted from 0 and scale with the LM's depth by default."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["causal", "published"] = Field(
        "causal",
        description="published: the slot sees all tokens, later ones and padding too, as in the "
        "authors' code; causal: only itself and what stands before it",
    )
    levels: PositiveInt | None = Field(
        None,
        description="the encoder's last blocks that are read; default 6, or as many as the "
        "encoders and the layers allow",
    )
    pool: Literal["cls", "mean"] = Field(
        "cls", description="a level's token: its CLS, or the mean of the tokens after the prefix"
    )
    slots: Literal["mean", "item"] = Field(
        "mean", description="one slot for the mean of all items (frames, images), or one for each"
    )
    connectors: Literal["separate", "shared"] = Field(
        "separate", description="a linear map for each level, or one for all"
    )
    prompt_length: NonNegativeInt = Field(10, description="soft prompt tokens; 0: none")
    prompt_mlp: bool = Field(True, description="the soft prompt goes through Linear, Tanh, Linear")
    prompt_at: Literal["input", "start"] = Field(
        "input",
        description="input: before the LM's first layer, which puts the whole LM in the backward "
        "pass; start: at the first layer that media enter",
    )
    prompt_learning_rate: PositiveFloat | None = Field(
        None, description="the soft prompt's own, as in the published question answering"
    )
    start: NonNegativeInt | None = Field(
        None, description="first layer that media enter; default 19/32 of the depth"
    )
    end: PositiveInt | None = Field(
        None, description="the layer after the last one; default all, published: all but one"
    )
    interval: PositiveInt = Field(1, description="enter only layers divisible by this")
