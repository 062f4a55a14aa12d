"""eP-ALM's fusion (ICCV 2023, arXiv 2303.11403): a media token in the upper layers of a frozen LM.

The sequence is [slot, soft prompt x P, text]. The CLS tokens v_1 .. v_K after the encoder's last K
blocks, each final-normed, become LM hidden states by linear maps:

    layers below start         nobody sees the slot
    layers start to end - 1    the slot's hidden state is overwritten with W_j v_j + b_j; j grows
    layers from end on         nothing is written; the slot carries on with what it has become

Neither slot nor prompt has a position: the text keeps the positions it has in the frozen LM.

`mode: published` is the authors' code: from start on the slot sees every token, later ones and
padding too. Where layers follow end, this tells earlier tokens of later ones, so that training
leaks, and no key/value cache can be exact: generation then runs without one. `mode: causal`, the
default, lets the slot see only itself and what precedes it, and by default writes to the last
layer; it is exact under the LM's cache, padding and sliding windows (in a layer with a window the
slot is seen only from inside it).

Several items (frames, images) become one slot, of their mean, or one each; several encoders have
slots of their own. A sample without media has no slot, and the others of its batch keep theirs.

Outside a fusion's reach, so said here: the published loss is 0.1 times the sum over all text
tokens, question included, divided by the samples; the trainer's is the mean over labelled tokens.
For one batch they differ by a factor and by what the head labels. The published schedule leaves
the soft prompt's learning rate constant (question answering) or that of every matrix (captioning).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmadapt.contracts import Encoder, EncoderInfo, Fusion, FusionContext, Rewrite
from mmadapt.masks import check_attention, edited_once, hide_columns, open_rows
from mmadapt.types import Features, LevelSpec, Memory, State, TextInputs
from mmadapt_epalm.checks import check_context, departures
from mmadapt_epalm.config import EpalmConfig
from mmadapt_epalm.pooling import pool_items, pool_tokens
from mmadapt_epalm.prompt import SoftPrompt
from mmadapt_epalm.schedule import plan


class EpalmFusion(Fusion):
    """One token of an encoder's levels, written into the layers of an LM, and a soft prompt.

    With a soft prompt at the input the backward pass runs through the whole LM; without one, or
    with `prompt_at: start`, it stops at the first layer that media enter.

    Args:
        config: an `EpalmConfig`.
        context: sizes of the LM and of the encoders served.

    Raises:
        RecipeError: an encoder or the LM cannot give what the options ask for.

    Example:
        >>> info = EncoderInfo("image", 768, 12, num_prefix_tokens=1)
        >>> context = FusionContext("epalm", 2560, 2560, 32, 32, {"image": info})
        >>> with torch.device("meta"):
        ...     fusion = EpalmFusion(EpalmConfig(), context)
        >>> sum(p.numel() for p in fusion.parameters())
        24949760
    """

    Config = EpalmConfig
    config: EpalmConfig

    def __init__(self, config: EpalmConfig, context: FusionContext) -> None:
        super().__init__(config, context)
        check_context(config, context)
        self.schedule = plan(config, context)
        self.causal = config.mode == "causal"
        self.reduces_alone = config.slots != "mean"
        count = self.schedule.num_levels if config.connectors == "separate" else 1
        self.connectors = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    nn.Linear(info.hidden_size, context.hidden_size) for _ in range(count)
                )
                for name, info in context.encoders.items()
            }
        )
        at_input = config.prompt_at == "input"
        width = context.embedding_size if at_input else context.hidden_size
        self.prompt = (
            SoftPrompt(config.prompt_length, width, config.prompt_mlp)
            if config.prompt_length
            else None
        )

    def levels(self, encoder: EncoderInfo) -> Sequence[LevelSpec]:
        """The last K blocks, shallow to deep, each through the encoder's final norm."""
        first = encoder.num_levels - self.schedule.num_levels
        return [LevelSpec(block, normed=True) for block in range(first, encoder.num_levels)]

    def reduce_each(self, features: Features) -> Features:
        """One token for each item."""
        return pool_tokens(features, self.config.pool)

    def reduce(self, features: Features) -> Features:
        """One token for each slot; those that are pooled already stay as they are."""
        features = pool_tokens(features, self.config.pool)
        return pool_items(features) if self.config.slots == "mean" else features

    def reduce_options(self) -> dict[str, Any]:
        """What pooling depends on."""
        return {"pool": self.config.pool, "slots": self.config.slots}

    def embeds(self, inputs: TextInputs, features: Mapping[str, Features]) -> TextInputs:
        """Inserts slots and soft prompt in front of the text; they take no positions."""
        batch, device = inputs.input_ids.shape[0], inputs.input_ids.device
        present = [features[name].item >= 0 for name in self.connectors if name in features]
        prompt = self._prompt_embeds(device)
        present.append(torch.ones(batch, len(prompt), dtype=torch.bool, device=device))
        shown = torch.cat(present, dim=1)
        if shown.shape[1] == 0:
            return inputs
        slots = prompt.new_zeros(batch, shown.shape[1] - len(prompt), prompt.shape[1])
        # Padding may precede; a text may be empty.
        real = nn.functional.pad(inputs.attention_mask, (0, 1), value=True)
        first = real.long().argmax(dim=1, keepdim=True)
        return inputs.insert(
            self.name,
            first.expand(-1, shown.shape[1]),
            embeds=torch.cat([slots, prompt.expand(batch, -1, -1)], dim=1),
            present=shown,
            positionless=True,
        )

    def prepare(self, features: Mapping[str, Features], state: State) -> Memory:
        """What is written: (b, K, m, d) for m slots, or None for a batch without media."""
        written = [
            self._connect(name, features[name]) for name in self.connectors if name in features
        ]
        return torch.cat(written, dim=2) if written else None

    def layers(self, num_layers: int) -> Iterable[int]:
        """Up to start the slot is hidden, up to end written; published, it sees all to the last."""
        return range(self.schedule.end if self.causal else num_layers)

    @property
    def enters_at(self) -> int:
        """Start, unless the soft prompt stands at the input.

        In `published` mode slots see padding columns too, of which fewer would be left.
        """
        at_input = self.prompt is not None and self.config.prompt_at == "input"
        return self.schedule.start if self.causal and not at_input else 0

    def layer_input(
        self, i: int, hidden_states: Tensor, mask: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor | None]:
        """Hides the slots below start; writes them, and opens their rows, from there on."""
        span = state.text.spans.get(self.name)
        if span is None:
            return hidden_states, mask
        memory = state.memories[self.name]
        num_slots = 0 if memory is None else memory.shape[2]
        if i >= self.schedule.start:
            hidden_states = self._write(i, hidden_states, memory, state)
            edit, last = open_rows, 0 if self.causal else num_slots
        else:
            late = self.config.prompt_at == "start"
            edit, last = hide_columns, num_slots + late * self.config.prompt_length
        if last == 0:
            return hidden_states, mask
        length = hidden_states.shape[1]

        def edited() -> Tensor:
            return edit(i, mask, (span > 0) & (span <= last), length, state)

        name = f"{self.name}.{edit.__name__}"
        return hidden_states, edited_once(name, i, mask, length, state, edited)

    def rewrite(self, encoders: Mapping[str, Encoder], lm: nn.Module) -> Rewrite | None:
        """Rewrites nothing; refuses an LM whose attention masks cannot be edited."""
        check_attention(lm, self.name)
        return None

    def param_groups(
        self, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]] | None:
        """With `prompt_learning_rate`: the published two groups of question answering.

        Connectors and soft prompt, all with weight decay, biases too. Without it the trainer's
        usual two, which are those of the published captioning: matrices decay, biases do not.
        """
        if self.config.prompt_learning_rate is None or self.prompt is None:
            return None
        groups = [
            (self.connectors, learning_rate),
            (self.prompt, self.config.prompt_learning_rate),
        ]
        return [
            {"params": list(module.parameters()), "lr": lr, "weight_decay": weight_decay}
            for module, lr in groups
        ]

    def kind_of(self, parameter: str) -> str:
        """Connectors, soft prompt."""
        return "connectors" if parameter.startswith("connectors") else "soft prompt"

    def departures(self) -> list[str]:
        """How the options, LM and encoders differ from the published ones."""
        return departures(self.config, self.context, self.schedule)

    def _prompt_embeds(self, device: torch.device) -> Tensor:
        """(p, e) what the soft prompt shows the LM's first layer; nothing if it enters later."""
        if self.prompt is not None and self.config.prompt_at == "input":
            return self.prompt()
        return torch.zeros(self.config.prompt_length, self.context.embedding_size, device=device)

    def _connect(self, name: str, features: Features) -> Tensor:
        """(b, K, m, d): the levels' tokens through their linear maps."""
        linears = list(cast(nn.ModuleList, self.connectors[name]))
        if self.config.connectors == "shared":
            linears *= self.schedule.num_levels
        dtype = cast(nn.Linear, linears[0]).weight.dtype
        return torch.stack(
            [
                linear(level[:, :, 0].to(dtype))
                for linear, level in zip(linears, features.levels, strict=True)
            ],
            dim=1,
        )

    def _write(self, i: int, hidden_states: Tensor, memory: Memory, state: State) -> Tensor:
        """Overwrites the slots, and at the start layer a soft prompt that enters there."""
        if state.past_len >= state.text.input_ids.shape[1]:
            return hidden_states  # only generated tokens are in the LM now
        new = hidden_states.new_zeros(len(hidden_states), 0, hidden_states.shape[2])
        if memory is not None and i in self.schedule.level_at:
            new = memory[:, self.schedule.level_at[i]].to(new.dtype)
        late = self.prompt is not None and self.config.prompt_at == "start"
        if late and i == self.schedule.start:
            prompt = cast(SoftPrompt, self.prompt)().to(new.dtype)
            new = torch.cat([new, prompt.expand(len(new), -1, -1)], dim=1)
        if new.shape[1] == 0:
            return hidden_states
        span = state.span(self.name, hidden_states.shape[1])
        written = (span > 0) & (span <= new.shape[1])
        index = (span - 1).clamp(0, new.shape[1] - 1)[..., None].expand_as(hidden_states)
        return torch.where(written[..., None], new.gather(1, index), hidden_states)
