"""What a training step needs: one step on imagined tensors of the batch's true shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmadapt.checking.example import (
    Batch,
    example_media,
    step_text,
    typical_batches,
    untrained_model,
)
from mmadapt.checking.ledger import Ledger, imagined
from mmadapt.contracts import Encoder, Fusion
from mmadapt.errors import MMAdaptError
from mmadapt.model import MultimodalModel
from mmadapt.quiet import quiet_transformers
from mmadapt.recipe import LMPart, ResolvedRecipe
from mmadapt.text import word_ids
from mmadapt.types import MediaInputs
from mmadapt.weights import untrained

LM, ENCODERS, ADAPTER = "frozen LM", "encoders", "adapter"
GRADIENTS, OPTIMISER, INPUTS = "gradients", "optimiser", "media and text"
LOSS, BACKWARD = "logits and loss", "backward"
STATIC = (LM, ENCODERS, ADAPTER, GRADIENTS, OPTIMISER, INPUTS)
_SITES = (
    "prepare", "embeds", "reduce", "layer_input", "attention_input", "attention_output",
    "mlp_input", "mlp_output", "aux_loss",
)  # fmt: skip
_BITS = {"8bit": 8, "4bit": 4}


@dataclass(frozen=True)
class Footprint:
    """Bytes of tensors in a training step.

    Args:
        batch: what was counted.
        static: what stays: weights by part, gradients, optimiser, inputs.
        activations: what the forward keeps for the backward pass, by whom it was made.
        peak: the most at one moment.
        source: where the batch's lengths come from.
    """

    batch: Batch
    static: dict[str, int]
    activations: dict[str, int]
    peak: int
    source: str = ""

    def __str__(self) -> str:
        batch = self.batch
        title = (
            f"memory of a training step (estimate for {batch.size} x {batch.text_tokens} text "
            f"tokens, {batch.labelled_tokens} of them learnt"
        )
        lines = [f"{title}: {self.source})" if self.source else f"{title})"]
        rows = {**self.static, "kept for the backward pass": sum(self.activations.values())}
        rows |= {f"  by {name}": size for name, size in self.activations.items()}
        rows |= {"most at one moment": self.peak}
        wide = max(map(len, rows))
        lines += [f"  {name:<{wide}}  {size / 2**20:>11,.1f} MiB" for name, size in rows.items()]
        return "\n".join(lines)


def footprint(resolved: ResolvedRecipe, batch: Batch, tokenize: Any = None) -> Footprint:
    """Counts a training step of a recipe; no weights are loaded and nothing large is allocated.

    Activations are those of transformers' CPU kernels; the optimiser is AdamW in float32.

    Args:
        resolved: the recipe.
        batch: sizes, as from the data.
        tokenize: the LM's tokenizer, or a stand-in; only lengths count.

    Raises:
        MMAdaptError: a configuration cannot be read.
    """
    with quiet_transformers(), imagined(), untrained():
        model = untrained_model(resolved, tokenize)
        media = {
            name: example_media(encoder, batch.size)
            for name, encoder in _encoders(model)
            if batch.modalities is None or encoder.modality in batch.modalities
        }
        return _without_quantised(measure_step(model, batch, media), model, resolved.recipe.lm)


def estimate(resolved: ResolvedRecipe, tokenize: Any = None) -> Footprint | str:
    """The footprint of a recipe's own batch, the largest of its kinds, or why there is none.

    Args:
        resolved: the recipe.
        tokenize: as in `footprint`.
    """
    batches, source = typical_batches(resolved)
    try:
        found = [footprint(resolved, batch, tokenize or word_ids) for batch in batches]
    except (MMAdaptError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return f"memory was not estimated: {reason[0]}"
    return replace(max(found, key=lambda one: one.peak), source=source)


def measure_step(
    model: MultimodalModel, batch: Batch, media: Mapping[str, MediaInputs]
) -> Footprint:
    """Runs one forward and backward under a `Ledger`; real ones where the model is real."""
    train = {} if model.recipe is None else model.recipe.train.arguments
    learnt = [p for p in model.parameters() if p.requires_grad]
    ids, mask, labels = step_text(model, batch)
    model.train()
    if train.get("gradient_checkpointing"):  # without noise, so the generator's state is no matter
        model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    with Ledger() as ledger:
        _enter_static(ledger, model, learnt)
        for tensor in (ids, mask, labels):
            ledger.enter(tensor, INPUTS)
        for inputs in media.values():
            for value in cast(Mapping[str, Tensor], inputs).values():
                ledger.enter(value, INPUTS)
        states = [torch.zeros_like(p) for p in learnt for _ in range(2)]
        for state in states:
            ledger.enter(state, OPTIMISER)
        _watch(ledger, model)
        for parameter in learnt:
            parameter.register_post_accumulate_grad_hook(partial(_enter_gradient, ledger))
            if int(train.get("gradient_accumulation_steps", 1)) > 1:
                parameter.grad = torch.zeros_like(parameter)
                ledger.enter(parameter.grad, GRADIENTS)
        ledger.forget_peak()
        with ledger.owned_by(LOSS), _autocast(train):
            loss = model(ids, mask, labels, media=media).loss
        kept = {k: v for k, v in ledger.live.items() if k not in STATIC and v > 0}
        with ledger.owned_by(BACKWARD):
            loss.backward()
        static = {name: ledger.live[name] for name in STATIC}
        peak = ledger.total(ledger.peak)
    return Footprint(batch, static, kept, peak)


def _encoders(model: MultimodalModel) -> list[tuple[str, Encoder]]:
    return cast(Any, list(model.encoders.items()))


def _enter_static(ledger: Ledger, model: MultimodalModel, learnt: list[Any]) -> None:
    ledger.enter_module(model.lm, LM)
    ledger.enter_module(model.encoders, ENCODERS)
    ledger.enter_module(model.fusions, ADAPTER)
    for parameter in learnt:
        ledger.enter(parameter, ADAPTER)


def _enter_gradient(ledger: Ledger, parameter: Tensor) -> None:
    assert parameter.grad is not None
    ledger.enter(parameter.grad, GRADIENTS)


def _watch(ledger: Ledger, model: MultimodalModel) -> None:
    """Says who makes what: wraps the calls of LM, encoders and fusions."""

    def owned(owner: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with ledger.owned_by(owner):
                return call(*args, **kwargs)

        return wrapped

    lm = cast(Any, model.lm)
    lm.forward = owned("LM", lm.forward)
    head = lm.get_output_embeddings()
    if head is not None:
        head.forward = owned(LOSS, head.forward)
    for name, encoder in _encoders(model):
        cast(Any, encoder).forward = owned(f"encoder {name}", encoder.forward)
    for name, module in model.fusions.items():
        fusion = cast(Fusion, module)
        for site in _SITES:
            setattr(fusion, site, owned(f"fusion {name}", getattr(fusion, site)))


def _autocast(train: Mapping[str, Any]) -> AbstractContextManager[Any]:
    dtype = torch.bfloat16 if train.get("bf16") else torch.float16 if train.get("fp16") else None
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype)


def _without_quantised(found: Footprint, model: MultimodalModel, part: LMPart) -> Footprint:
    """The footprint where the LM's linear layers are stored in 8 or 4 bits."""
    if part.quantization is None:
        return found
    bits = _BITS[part.quantization]
    head = cast(Any, model.lm).get_output_embeddings()
    linear = [m for m in model.lm.modules() if isinstance(m, nn.Linear) and m is not head]
    saved = sum(
        m.weight.numel() * m.weight.element_size() - m.weight.numel() * bits // 8 for m in linear
    )
    static = found.static | {LM: found.static[LM] - saved}
    return Footprint(found.batch, static, found.activations, found.peak - saved)
