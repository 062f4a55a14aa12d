"""EVLM's fusion (arXiv 2407.14177): gated cross-attention to the levels of an encoder.

For LM layer L and the level F of the encoder that belongs to it (see `layout`), before the layer:

    X <- X + tanh(a) * softmax(norm(X) Wq (F Wk)^T / sqrt(head_dim) + mask) (F Wv) Wo
    X <- X + tanh(f) * FFN(norm(X))                 or experts in place of the FFN (see `moe`)

In the text every media item (an image, a frame) is a set of learnable tokens; the set of item i
sees item i alone, text sees the previous image, or all frames of the previous video. The gates
start at zero, so that the LM's outputs start as those of the LM on text with inserted tokens.

Departures and additions: the paper is silent on much, and `config` says what is chosen and why.
Weight decay leaves gates, norms and learnable tokens alone; the published one is said of nothing
in particular. Packed texts attend to one another in the LM, as nothing else is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmadapt.contracts import EncoderInfo, Fusion, FusionContext
from mmadapt.errors import AdapterError
from mmadapt.types import Features, LevelSpec, Memory, State, TextInputs
from mmadapt_evlm.block import GatedBlock
from mmadapt_evlm.checks import check_context, departures
from mmadapt_evlm.config import EvlmConfig
from mmadapt_evlm.layout import encoder_blocks, gated_layers, layer_levels
from mmadapt_evlm.losses import balance_loss, z_loss
from mmadapt_evlm.media import Media, files
from mmadapt_evlm.tokens import insert_tokens, insertion_order
from mmadapt_evlm.upcycle import upcycle_from, weights_file
from mmadapt_evlm.visibility import Seen, seen_by, visibility, visible_keys


class EvlmFusion(Fusion):
    """Gated cross-attention to hierarchical features before LM layers, dense or with experts.

    Args:
        config: an `EvlmConfig`.
        context: sizes of the LM and of the encoders served.

    Raises:
        RecipeError: an encoder or the LM cannot give what the options ask for.
        AdapterError: the dense adapter to start from does not fit.

    Example:
        >>> info = EncoderInfo("image", 1792, 64, num_prefix_tokens=1, grid=(16, 16))
        >>> context = FusionContext("evlm", 5120, 5120, 40, 40, {"image": info})
        >>> with torch.device("meta"):
        ...     fusion = EvlmFusion(EvlmConfig(), context)
        >>> sum(p.numel() for n, p in fusion.named_parameters() if p.ndim > 1 and n[:6] == "blocks")
        1614807040
    """

    Config = EvlmConfig
    reduces_alone = True
    config: EvlmConfig

    def __init__(self, config: EvlmConfig, context: FusionContext) -> None:
        super().__init__(config, context)
        check_context(config, context)
        widths = {name: info.hidden_size for name, info in context.encoders.items()}
        self.level_of = layer_levels(config, context.num_layers)
        self.blocks = nn.ModuleDict(
            {str(i): GatedBlock(config, context.hidden_size, widths) for i in self.level_of}
        )
        sets = ["shared"] if config.share_tokens else list(widths)
        shape = (config.num_tokens, context.embedding_size)
        self.tokens = nn.ParameterDict(
            {name: nn.Parameter(config.token_std * torch.randn(shape)) for name in sets}
        )
        self.media = Media(config, widths)
        self._start_from_dense()

    def levels(self, encoder: EncoderInfo) -> Sequence[LevelSpec]:
        """Evenly spaced blocks of the last ones, raw, shallow to deep."""
        return [LevelSpec(block) for block in encoder_blocks(self.config, encoder.num_levels)]

    def reduce(self, features: Features) -> Features:
        """Everything, or all but the prefix tokens."""
        first = 0 if self.config.keep_cls else features.num_prefix_tokens
        return replace(
            features,
            levels=tuple(level[:, :, first:] for level in features.levels),
            mask=features.mask[:, :, first:],
            num_prefix_tokens=features.num_prefix_tokens - first,
        )

    def reduce_options(self) -> dict[str, Any]:
        """Whether prefix tokens are kept."""
        return {"keep_cls": self.config.keep_cls}

    def embeds(self, inputs: TextInputs, features: Mapping[str, Features]) -> TextInputs:
        """Inserts the learnable tokens of every item at its file's column."""
        features = self._in_order(features)
        if not features:
            return inputs
        sets = [
            self.tokens["shared" if self.config.share_tokens else name].expand(
                media.item.shape[1], -1, -1
            )
            for name, media in features.items()
        ]
        return insert_tokens(inputs, self.name, files(features), torch.cat(sets))

    def prepare(self, features: Mapping[str, Features], state: State) -> Memory:
        """Makes what text sees, and keys and values of every gated layer (or keeps the levels)."""
        self._refuse_missing_dense()
        features = self._in_order(features)
        if not features:
            return {}
        file = files(features)
        codes, table = visibility(
            state.text.spans[self.name],
            file,
            insertion_order(file),
            self.config.num_tokens,
            self.config.visible,
        )
        item_of_key, real = self.media.keys(features)
        memory = {"codes": codes, "table": table, "item_of_key": item_of_key, "real": real}
        groups = self.media(features)
        if not self.config.cache_kv:
            return {**memory, "media": groups}
        keys_values = {
            i: self._block(i).attention.keys_values(groups[group])
            for i, group in self.level_of.items()
        }
        return {**memory, "keys_values": keys_values}

    def layers(self, num_layers: int) -> Iterable[int]:
        """Every n-th."""
        return gated_layers(self.config, num_layers)

    def layer_input(
        self, i: int, hidden_states: Tensor, mask: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor | None]:
        """Passes the hidden states through the gated layer; the LM's own mask stays."""
        memory = state.memories[self.name]
        seen = self._seen(i, hidden_states.shape[1], memory, state) if memory else None
        if self.config.gradient_checkpointing and self.training and torch.is_grad_enabled():
            result = checkpoint(self._gate, i, hidden_states, seen, memory, use_reentrant=False)
        else:
            result = self._gate(i, hidden_states, seen, memory)
        hidden_states, logits = cast("tuple[Tensor, Tensor | None]", result)
        if logits is not None and self.training:
            state.aux.setdefault(self.name, {})[i] = logits
        return hidden_states, mask

    def aux_loss(self, state: State) -> Tensor | None:
        """Load balancing and z-loss of all routers in training, padding left out."""
        moe, layers = self.config.moe, state.aux.get(self.name)
        if moe is None or not layers:
            return None
        real = state.text.attention_mask
        logits = [layers[i][real] for i in sorted(layers)]
        loss = logits[0].new_zeros((), dtype=torch.float32)
        if moe.balance != "none" and moe.balance_coefficient:
            loss = loss + moe.balance_coefficient * balance_loss(logits, moe.top_k, moe.balance)
        if moe.z_loss_coefficient:
            loss = loss + moe.z_loss_coefficient * z_loss(logits)
        return loss

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Weight decay on projections, experts and routers only."""
        trained = {n: p for n, p in self.named_parameters() if p.requires_grad}
        decays = {n for n, p in trained.items() if p.ndim > 1 and not n.startswith("tokens.")}
        groups = [
            ([p for n, p in trained.items() if n in decays], weight_decay),
            ([p for n, p in trained.items() if n not in decays], 0.0),
        ]
        return [
            {"params": params, "lr": learning_rate, "weight_decay": decay}
            for params, decay in groups
        ]

    def gates(self) -> dict[int, tuple[float, float]]:
        """By LM layer, how far the gates of attention and feed-forward part are open: tanh."""
        return {
            i: (
                float(self._block(i).attention_gate.detach().tanh()),
                float(self._block(i).mlp_gate.detach().tanh()),
            )
            for i in self.level_of
        }

    def kind_of(self, parameter: str) -> str:
        """Projections, norms, gates, learnable tokens; of experts: experts, world, routers."""
        kinds = {
            "norm": "norms",
            "_gate": "gates",
            "tokens.": "learnable tokens",
            ".experts.": "routed experts",
            ".world.": "world experts",
            ".router.": "routers",
        }
        return next((kind for part, kind in kinds.items() if part in parameter), "projections")

    def departures(self) -> list[str]:
        """How the options and encoders differ from what is published or our default."""
        return departures(self.config, self.context)

    def _seen(self, i: int, length: int, memory: Memory, state: State) -> Seen:
        """What the columns now in the LM see, made once for all layers."""
        first = next(iter(self.level_of))
        if i == first:
            beyond = memory["table"].shape[1] - 1
            codes = state.columns(memory["codes"], length, beyond=beyond)
            mask = visible_keys(codes, memory["table"], memory["item_of_key"][0], memory["real"])
            kind, dtype = mask.device.type, self._block(i).attention.to_q.weight.dtype
            if kind != "meta" and torch.is_autocast_enabled(kind):
                dtype = torch.get_autocast_dtype(kind)
            state.stash[self.name, first] = seen_by(mask, self.config.zero_pad, dtype)
        return state.stash[self.name, first]

    def _gate(
        self, i: int, x: Tensor, seen: Seen | None, memory: Memory
    ) -> tuple[Tensor, Tensor | None]:
        block = self._block(i)
        if seen is None:
            return block(x, None, None)
        if "keys_values" in memory:
            keys_values = memory["keys_values"][i]
        else:
            keys_values = block.attention.keys_values(memory["media"][self.level_of[i]])
        return block(x, keys_values, seen)

    def _in_order(self, features: Mapping[str, Features]) -> dict[str, Features]:
        return {name: features[name] for name in self.context.encoders if name in features}

    def _block(self, i: int) -> GatedBlock:
        return cast(GatedBlock, self.blocks[str(i)])

    def check_start(self) -> None:
        """Raises where the dense adapter to start from is missing."""
        moe = self.config.moe
        if moe is not None and moe.upcycle_from is not None:
            self._refuse_missing(moe.upcycle_from)

    def _refuse_missing(self, folder: str) -> None:
        if not weights_file(folder).is_file():
            raise AdapterError(
                f"fusion '{self.name}': upcycle_from: {folder} is no adapter folder; train the "
                "dense adapter first, or name its folder"
            )

    def _start_from_dense(self) -> None:
        """Upcycles at once, or, where the folder is gone, waits for an adapter to be loaded."""
        moe = self.config.moe
        self._missing: str | None = None
        self.has_started = moe is not None and moe.upcycle_from is not None
        tensor = next(self.parameters())
        if moe is None or moe.upcycle_from is None:
            return
        # Saved with the adapter: a loaded one no longer needs the folder it once started from.
        self.register_buffer("upcycled", torch.zeros((), dtype=torch.bool))
        if tensor.is_meta:
            return
        file = weights_file(moe.upcycle_from)
        if not file.is_file():
            self._missing = moe.upcycle_from
            return
        upcycle_from(self, self.name, file, moe.start)
        cast(Tensor, self.upcycled).fill_(True)

    def _refuse_missing_dense(self) -> None:
        if self._missing is not None and not bool(self.upcycled):
            self._refuse_missing(self._missing)
