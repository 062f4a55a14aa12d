"""ADEM-VL's fusion (arXiv 2410.17779): silu(q) silu(K)^T U beside every MLP of a frozen LM.

For the hidden states q (b, s, d) that enter an LM layer's MLP and a sample's memory K, U (b, n, d):

    A = silu(q) K^T        no softmax, no heads, no scaling, no weights
    A = A where A >= tau   tau: the score at place int(gamma * n) in ascending order, else 0
    MLP output + alpha * A U

K = silu(V + e1) and U = V + e2 depend on no layer, so `prepare` makes them once per batch.

Departures from the published code, all without effect on one image in float32: media are projected
in the parameters' own precision, and K and U are cast once to what the LM computes in; padding
counts neither in sums nor in thresholds; several items (frames) of a sample form one memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmadapt.contracts import Encoder, EncoderInfo, Fusion, FusionContext, Rewrite
from mmadapt.errors import RecipeError
from mmadapt.pooling import check_grid, pool_scales
from mmadapt.types import Features, LevelSpec, Memory, State, TextInputs
from mmadapt_adem.activations import ACTIVATIONS
from mmadapt_adem.bottleneck import Bottleneck, hook_bottlenecks
from mmadapt_adem.checks import check_context, departures
from mmadapt_adem.cls_token import insert_cls, is_any
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.dropping import drop_counts, drop_lowest
from mmadapt_adem.memory import EncoderMemory


class AdemFusion(Fusion):
    """Parameter-free cross-attention to multi-scale media, with adaptive dropping of low scores.

    Args:
        config: an `AdemConfig`.
        context: sizes of the LM and of the encoders served.

    Raises:
        RecipeError: an encoder cannot give what the options ask for.

    Example:
        >>> info = EncoderInfo("image", 1024, 24, num_prefix_tokens=1, grid=(16, 16))
        >>> context = FusionContext("adem", 4096, 4096, 32, 32, {"image": info})
        >>> with torch.device("meta"):
        ...     fusion = AdemFusion(AdemConfig(), context)
        >>> sum(p.numel() for p in fusion.parameters())
        4530432
    """

    Config = AdemConfig
    reduces_alone = True
    config: AdemConfig

    def __init__(self, config: AdemConfig, context: FusionContext) -> None:
        super().__init__(config, context)
        check_context(config, context)
        self.memories = nn.ModuleDict(
            {
                name: EncoderMemory(config, info, context.hidden_size, context.embedding_size)
                for name, info in context.encoders.items()
            }
        )
        self.bottlenecks = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    Bottleneck(info.hidden_size, config.bottleneck) for _ in range(info.num_levels)
                )
                for name, info in context.encoders.items()
                if config.bottleneck is not None
            }
        )
        self.activation = ACTIVATIONS[config.activation]
        # What an attached LM says of itself; `rewrite` learns it.
        self._lm_dtype: torch.dtype | None = None
        self._bos_token_id: int | None = None

    def levels(self, encoder: EncoderInfo) -> Sequence[LevelSpec]:
        """One block's tokens after the final norm; published: the last block but one."""
        level = self.config.level
        return [LevelSpec(level if level >= 0 else encoder.num_levels + level, normed=True)]

    def reduce(self, features: Features) -> Features:
        """Pools the grid to every scale; keeps the CLS in front if it is used."""
        tokens, mask = features.levels[0], features.mask
        first = features.num_prefix_tokens
        grid = features.grid or (1, tokens.shape[2] - first)
        check_grid(self.name, self.config.scales, grid)
        pooled, seen = pool_scales(
            tokens[:, :, first:], mask[:, :, first:], grid, self.config.scales, self.config.pool
        )
        kept = int(self.config.cls)
        pooled = torch.cat([tokens[:, :, :kept], pooled], dim=2)
        seen = torch.cat([mask[:, :, :kept], seen], dim=2)
        if self.config.media_norm == "layernorm":
            pooled = nn.functional.layer_norm(pooled, pooled.shape[-1:])
        return replace(features, levels=(pooled,), mask=seen, num_prefix_tokens=kept, grid=None)

    def reduce_options(self) -> dict[str, Any]:
        """What pooling depends on."""
        config = self.config
        return {
            "scales": config.scales,
            "pool": config.pool,
            "cls": config.cls,
            "media_norm": config.media_norm,
        }

    def embeds(self, inputs: TextInputs, features: Mapping[str, Features]) -> TextInputs:
        """Inserts the items' CLS tokens behind their prefix, or the prefix that says no media."""
        if not self.config.cls:
            return inputs
        cls = {name: self._memory(name).cls_embeds(found) for name, found in features.items()}
        return insert_cls(
            inputs,
            self.name,
            {name: found.item for name, found in features.items()},
            cls,
            {name: self._prefix(name, self.config.media_prefix, "") for name in features},
            self._prefix(next(iter(self.memories)), self.config.no_media_prefix, "N/A"),
            self._bos_token_id,
        )

    def prepare(self, features: Mapping[str, Features], state: State) -> Memory:
        """Makes K and U of all encoders, and for uneven samples their mask and drop counts."""
        parts = [self._memory(name)(features.get(name)) for name in self.memories]
        rows = max(part[0].shape[0] for part in parts)
        keys, values, mask = (
            torch.cat([x.expand(rows, *x.shape[1:]) for x in kind], dim=1)
            for kind in zip(*parts, strict=True)
        )
        dtype = self._compute_dtype(keys)
        memory = {"keys": keys.to(dtype), "values": values.to(dtype)}
        if self.config.gamma > 0 and is_any(~mask, unknown=False):
            memory |= {"mask": mask, "counts": drop_counts(self.config.gamma, mask)}
        return memory

    def layers(self, num_layers: int) -> Iterable[int]:
        """All layers, or those that the configuration lists."""
        if self.config.layers == "all":
            return range(num_layers)
        return sorted({i if i >= 0 else num_layers + i for i in self.config.layers})

    def sites(self) -> set[str]:
        """The one site where the result is added."""
        return {self.config.result}

    def attention_input(self, i: int, x: Tensor, state: State) -> Tensor:
        """Table VII, attention in to in."""
        return self._add(x, x, state)

    def attention_output(self, i: int, x: Tensor, y: Tensor, state: State) -> Tensor:
        """Table VII, attention in to out, or out to out."""
        return self._add(y, x if self.config.query == "attention_input" else y, state)

    def mlp_input(self, i: int, x: Tensor, state: State) -> Tensor:
        """Table VII, MLP in to in."""
        return self._add(x, x, state)

    def mlp_output(self, i: int, x: Tensor, y: Tensor, state: State) -> Tensor:
        """Table VII, MLP in to out (the published choice), or out to out."""
        return self._add(y, x if self.config.query == "mlp_input" else y, state)

    def fuse(self, query: Tensor, memory: Memory) -> Tensor:
        """A U: what the queries (b, s, d) read from the memory, without alpha."""
        keys = memory["keys"]
        scores = self.activation(query.to(keys.dtype)) @ keys.transpose(1, 2)
        scores = drop_lowest(scores, self.config.gamma, memory.get("mask"), memory.get("counts"))
        return scores @ memory["values"]

    @property
    def edits_encoders(self) -> bool:
        """With bottlenecks it does."""
        return self.config.bottleneck is not None

    def rewrite(self, encoders: Mapping[str, Encoder], lm: nn.Module) -> Rewrite | None:
        """Hooks a bottleneck beside each MLP of the encoders served; `undo` takes them out."""
        self._know(lm)
        served = [name for name in self.bottlenecks if name in encoders]
        handles = []
        for name in served:
            stack = list(cast(nn.ModuleList, self.bottlenecks[name]))
            try:
                mlps = [encoders[name].mlp(block) for block in range(len(stack))]
            except TypeError as error:
                raise RecipeError(
                    f"fusion '{self.name}': bottleneck needs the MLPs of encoder '{name}': "
                    f"{error}; set bottleneck: null"
                ) from error
            handles += hook_bottlenecks(mlps, stack)
        if not served:
            return None

        def undo() -> None:
            for handle in handles:
                handle.remove()

        return Rewrite(frozenset(served), undo)

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Published: weight decay on all but 1-D tensors, so the position tables decay too."""
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [([p for p in trained if p.ndim > 1], weight_decay)]
        groups.append(([p for p in trained if p.ndim <= 1], 0.0))
        return [
            {"params": params, "lr": learning_rate, "weight_decay": decay}
            for params, decay in groups
        ]

    def kind_of(self, parameter: str) -> str:
        """Position tables, projector, CLS projector, bottlenecks."""
        part = parameter.split(".")[2]
        if parameter.startswith("bottlenecks"):
            return "bottlenecks"
        return "position tables" if part.endswith("table") else part.replace("cls_", "CLS ")

    def departures(self) -> list[str]:
        """How the options and encoders differ from the published ones."""
        return departures(self.config, self.context)

    def _know(self, lm: Any) -> None:
        """Remembers what an LM computes in and how its texts begin."""
        dtype = lm.get_input_embeddings().weight.dtype
        self._lm_dtype = dtype if dtype.is_floating_point else None
        bos = lm.config.get_text_config().bos_token_id
        self._bos_token_id = bos if isinstance(bos, int) else None

    def _compute_dtype(self, like: Tensor) -> torch.dtype:
        """What the LM computes in, so that the memory is cast once and not in every layer."""
        kind = like.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):
            return torch.get_autocast_dtype(kind)
        return self._lm_dtype or like.dtype

    def _memory(self, name: str) -> EncoderMemory:
        return cast(EncoderMemory, self.memories[name])

    def _prefix(self, encoder: str, text: str | None, ending: str) -> list[int]:
        """Ids of a prefix text; by default the encoder's modality, as in "Image: N/A"."""
        if text is None:
            text = f"{self.context.encoders[encoder].modality.capitalize()}: {ending}"
        if not text:
            return []
        if self.context.tokenize is None:
            raise RecipeError(
                f"fusion '{self.name}': the text {text!r} needs a tokenizer, and the LM has none; "
                'set media_prefix: "" and no_media_prefix: ""'
            )
        return self.context.tokenize(text)

    def _add(self, to: Tensor, query: Tensor, state: State) -> Tensor:
        fused = self.fuse(query, state.memories[self.name])
        return torch.add(to, fused.to(to.dtype), alpha=self.config.alpha)
