"""What a recipe may say of the fusion `adem`; the defaults are the published settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Site = Literal["attention_input", "attention_output", "mlp_input", "mlp_output"]
Activation = Literal["none", "softmax", "relu", "elu", "silu", "silu_min"]


class AdemConfig(BaseModel):
    """Options of `adem`; the defaults are those of the published code, for CLIP ViT-L/14."""

    model_config = ConfigDict(extra="forbid")

    scales: Annotated[list[tuple[PositiveInt, PositiveInt]], Field(min_length=1)] = Field(
        [(16, 16), (8, 8)],
        description="(h, w) grids that every item is pooled to; the encoder's own passes through",
    )
    pool: Literal["avg", "max"] = Field("avg", description="adaptive pooling")
    alpha: float = Field(0.1, description="scale of what is added to the LM's hidden states")
    beta: float = Field(0.01, description="scale of the projected media; fits CLIP's features")
    gamma: float = Field(0.1, ge=0, lt=1, description="share of the lowest scores that is dropped")
    hidden_size: PositiveInt = Field(128, description="width inside the projectors")
    cls: bool = Field(True, description="put each item's CLS into the text, by its own projector")
    media_prefix: str | None = Field(
        None, description="text before the CLS; default 'Image: ' (Video, Audio: the modality's)"
    )
    no_media_prefix: str | None = Field(
        None, description="text of samples without media; default 'Image: N/A', likewise"
    )
    tables: bool = Field(True, description="learned position tables on keys and on values")
    bottleneck: PositiveInt | None = Field(
        12, description="width of a trained bottleneck beside each MLP of the encoders; null: none"
    )
    query: Site = Field("mlp_input", description="the hidden states that ask (paper, Table VII)")
    result: Site = Field("mlp_output", description="where the answer is added (Table VII)")
    activation: Activation = Field("silu", description="of queries and keys (Table VIII)")
    media_norm: Literal["none", "layernorm"] = Field(
        "none", description="layernorm without parameters on the pooled features"
    )
    level: int = Field(-2, description="encoder block whose tokens are read, final-normed")
    layers: Literal["all"] | list[int] = Field(
        "all", description="LM layers; negative from the end"
    )
    normalize_items: bool = Field(False, description="divide what is added by the number of items")

    @model_validator(mode="after")
    def _possible(self) -> AdemConfig:
        query, result = self.query, self.result
        if query.split("_")[0] != result.split("_")[0] or (
            query.endswith("output") and result.endswith("input")
        ):
            raise ValueError(
                f"query: {query} with result: {result} is not possible; both lie at the attention "
                "or both at the MLP, and the result not before the query"
            )
        return self
