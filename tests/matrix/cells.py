"""One cell of the matrix: a fusion, an encoder and a language model under the invariants."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmadapt.contracts import Encoder, FusionContext
from mmadapt.errors import MMAdaptError
from mmadapt.testing import FusionContract
from mmadapt.types import MediaInputs
from tests.matrix.parts import ENCODERS, FUSIONS, INVARIANTS

SIDES = ("left", "right")


def invariants(encoder: str) -> list[str]:
    """What is asked under an encoder; without values only fusions run, as in `mmadapt check`."""
    return [name for name in INVARIANTS if encoder == "tiny" or name != "meta"]


def is_possible(fusion: str, encoder: str) -> bool:
    """Whether a fusion finds in an encoder what it needs."""
    return ENCODERS[encoder].has_mlp or not FUSIONS[fusion].needs_mlp


class Cell(FusionContract):
    """The contract of all fusions on one fusion and one encoder."""

    __test__ = False  # pytest runs a sample of the cells, not this class

    def __init__(self, fusion: str, encoder: str) -> None:
        self.possible = is_possible(fusion, encoder)
        self.fusion, self.encoder = FUSIONS[fusion], ENCODERS[encoder]
        self.noise, self.effect = self.fusion.noise, self.fusion.effect
        self.tolerance = self.fusion.tolerance

    def make(self, context: FusionContext) -> Any:
        """Builds the fusion; knows which bottleneck no level is read behind."""
        fusion = self.fusion.make(context)
        unread = {
            f"bottlenecks.{name}.{info.num_levels - 1}.fc{i}.weight"
            for name, info in context.encoders.items()
            for i in (1, 2)
        }
        names = {name for name, _ in fusion.named_parameters()}
        self.without_gradient = frozenset(unread & names)
        return fusion

    def encoders(self) -> dict[str, Encoder]:
        """The one encoder."""
        encoder = self.encoder.make()
        return {encoder.modality: encoder}

    def media(self, encoders: Mapping[str, Any], rows: int, seed: int) -> dict[str, MediaInputs]:
        """Random media of its kind."""
        return {name: self.encoder.media(each, rows, seed) for name, each in encoders.items()}

    def refusal(self) -> str:
        """Why the two do not go together, if they do not; the error must say so, too."""
        if self.possible:
            return ""
        try:
            self.join("llama")
        except MMAdaptError as error:
            assert "bottleneck: null" in str(error), f"the refusal does not help: {error}"
            return "its blocks have no MLP module, so no bottlenecks"
        raise AssertionError("declared impossible, yet it composes")

    def keeps(self, invariant: str, family: str) -> str:
        """Why an invariant is not kept, where it is not promised; nothing where it is kept.

        Raises:
            AssertionError: it is promised and not kept.
        """
        why = self.fusion.declared.get(invariant, "")
        try:
            for name in INVARIANTS[invariant]:
                self._call(name, family)
        except AssertionError:
            if why:
                return why
            raise
        return ""

    def _call(self, name: str, family: str) -> None:
        method = getattr(self, name)
        wanted = set(inspect.signature(method).parameters)
        with TemporaryDirectory() as folder:
            given = {"family": family, "tmp_path": Path(folder)}
            for side in SIDES if "side" in wanted else (None,):
                method(**{k: v for k, v in {**given, "side": side}.items() if k in wanted})
