"""What the contract suites share: a fusion joined to a tiny LM, batches, and measurements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmadapt.contracts import Encoder, Fusion, FusionContext, Head
from mmadapt.model import MultimodalModel
from mmadapt.testing.tiny import VOCAB, TinyEncoder, context, tiny_lm
from mmadapt.types import MediaInputs

LENGTHS = (9, 6, 4)  # real tokens of the rows of a batch
STEPS = 10  # generated tokens


class FusionCase(ABC):
    """A fusion under test; subclasses say how to make it.

    Attributes:
        families: LM families that every test runs on.
        tolerance: largest difference of logits (of the order of 1) between two equal computations.
        effect: smallest change of logits that other media must cause.
        noise: standard deviation of what is added to the parameters, so that zero gates open.
        without_gradient: names of the fusion's parameters that these batches give no gradient.
    """

    families: tuple[str, ...] = ("opt", "llama", "mistral", "gpt_neox", "gpt2")
    tolerance: float = 1e-5
    effect: float = 1e-3
    noise: float = 0.05
    without_gradient: frozenset[str] = frozenset()

    @abstractmethod
    def make(self, context: FusionContext) -> Fusion:
        """Builds the fusion for an LM and the encoders."""

    def encoders(self) -> dict[str, Encoder]:
        """The encoders that the fusion is tested with; overridden with `media`."""
        return {"image": TinyEncoder()}

    def media(self, encoders: Mapping[str, Any], rows: int, seed: int) -> dict[str, MediaInputs]:
        """Random media for `rows` samples: one file each, for each encoder."""
        return {name: encoder.inputs(rows, seed=seed) for name, encoder in encoders.items()}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Runs every test that asks for a `family` on all of `families`."""
        if "family" in metafunc.fixturenames:
            metafunc.parametrize("family", self.families)

    def join(
        self, family: str, *, seed: int = 0, lm: PreTrainedModel | None = None, **options: Any
    ) -> MultimodalModel:
        """The fusion in a tiny LM; `seed` draws the fusion's parameters, `options` the LM."""
        lm = lm or tiny_lm(family, **options)
        torch.manual_seed(100)
        encoders = self.encoders()
        torch.manual_seed(200 + seed)
        fusion = self.make(context(lm, encoders))
        with torch.no_grad():
            for parameter in fusion.parameters():
                parameter.add_(self.noise * torch.randn_like(parameter))
        return MultimodalModel(lm, None, encoders, [fusion], Head(None)).eval()

    def batch(self, model: MultimodalModel, *, seed: int = 0, side: str = "right") -> dict:
        """Prompts of unequal lengths with media, padded on one side with a token that is no pad."""
        rows, longest = len(LENGTHS), max(LENGTHS)
        generator = torch.Generator().manual_seed(7)
        ids = torch.randint(4, VOCAB, (rows, longest), generator=generator)
        place = torch.arange(longest).expand(rows, -1)
        lengths = torch.tensor(LENGTHS)[:, None]
        mask, first = place < lengths, torch.zeros_like(lengths)
        if side == "left":
            first = longest - lengths
            mask, ids = place >= first, ids.gather(1, (place - first) % longest)
        return {
            "input_ids": ids,
            "attention_mask": mask.long(),
            "media": self.media(dict(model.encoders.items()), rows, seed),
            "media_positions": first + 1,
        }


def with_labels(batch: dict) -> dict:
    """The batch, its last three real tokens of each row labelled; the batch is padded right."""
    mask = batch["attention_mask"]
    labelled = (mask == 1) & (mask.cumsum(1) > mask.sum(1, keepdim=True) - 3)
    return {**batch, "labels": batch["input_ids"].masked_fill(~labelled, -100)}


def one_row(batch: dict, row: int) -> dict:
    """Sample `row` alone, without padding."""
    real = batch["attention_mask"][row].bool()
    alone = {"input_ids": batch["input_ids"][row : row + 1, real]}
    if "media_positions" in batch:
        first = int(real.long().argmax())
        alone["media_positions"] = batch["media_positions"][row : row + 1] - first
    if "media" in batch:
        alone["media"] = {
            name: {key: value[row : row + 1] for key, value in inputs.items()}
            for name, inputs in batch["media"].items()
        }
    return alone


def difference(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; shapes must agree."""
    assert a.shape == b.shape, f"shapes differ: {tuple(a.shape)} and {tuple(b.shape)}"
    return float((a.double() - b.double()).detach().abs().max()) if a.numel() else 0.0


def assert_close(a: Tensor, b: Tensor, tolerance: float, what: str) -> None:
    """Fails, saying `what` differs and by how much, unless all values are within `tolerance`."""
    found = difference(a, b)
    assert found <= tolerance, f"{what} by {found:.2e}, more than {tolerance:.0e}"


def generated(model: MultimodalModel, batch: dict, **options: Any) -> tuple[Tensor, Tensor, Any]:
    """New ids (b, STEPS), their logits (b, STEPS, v) and, of beams, the sequences' scores."""
    output = model.generate_batch(
        **batch,
        max_new_tokens=STEPS,
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        **options,
    )
    return output.sequences, torch.stack(output.logits, dim=1), output.get("sequences_scores")


def copies(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def gradients(model: MultimodalModel, batch: dict, seed: int = 0) -> dict[str, Tensor]:
    """Gradients of the loss on a batch, by parameter; those without any are left out."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    model(**batch).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@contextmanager
def calls_of(module: nn.Module) -> Iterator[Callable[[], int]]:
    """Counts the forward calls of a module inside the block."""
    count = 0

    def hook(*_: Any) -> None:
        nonlocal count
        count += 1

    handle = module.register_forward_pre_hook(hook)
    try:
        yield lambda: count
    finally:
        handle.remove()


def lm_of(model: MultimodalModel) -> Any:
    """The LM, untyped."""
    return cast(Any, model.lm)
