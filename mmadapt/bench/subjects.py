"""What is measured: the LM alone, and the LM with a fusion attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mmadapt.bench.clock import FUSION, StageClock
from mmadapt.bench.workload import Workload, example_values
from mmadapt.contracts import Encoder, EncoderInfo, Fusion, Head, HeadConfig
from mmadapt.model import MultimodalModel
from mmadapt.types import Features, MediaInputs

Work = Callable[[], Any]


class Subject(ABC):
    """One row: it is attached to the shared LM, measured, and taken off again.

    Args:
        name: of the row.
        lm: shared by all rows.
        workload: sizes.
    """

    def __init__(self, name: str, lm: PreTrainedModel, workload: Workload) -> None:
        self.name, self.lm, self.workload = name, lm, workload
        self.ids = workload.text(workload.batch_size, lm.device)
        self.labels = workload.labels(self.ids)
        self.clock = StageClock(cast(torch.device, lm.device))

    @abstractmethod
    def training(self) -> Any:
        """A context that gives a function for one step: forward, backward, optimiser."""

    @abstractmethod
    def generating(self, batch_size: int) -> Any:
        """A context that gives a function which generates, given options of `generate`."""

    @property
    def adapter_bytes(self) -> int:
        """Bytes of what trains."""
        return 0


class TextOnly(Subject):
    """The floor: the frozen LM, forward and backward to its input embeddings, with its own loss."""

    @contextmanager
    def training(self) -> Iterator[Work]:
        """Logits everywhere, as transformers computes a loss."""
        self.lm.train()
        lm: Any = self.lm
        with _embeddings_learn(self.lm), self.clock.watching(self.lm):
            yield lambda: self.clock.backward(lm(input_ids=self.ids, labels=self.labels).loss)

    @contextmanager
    def generating(self, batch_size: int) -> Iterator[Work]:
        """The LM's own `generate`."""
        ids = self.workload.text(batch_size, self.lm.device)
        mask = torch.ones_like(ids)
        self.lm.eval()
        model = cast(Any, self.lm)
        yield lambda **options: model.generate(input_ids=ids, attention_mask=mask, **options)


class TextOnlyLabelled(TextOnly):
    """The true floor: logits only where there are labels."""

    @contextmanager
    def training(self) -> Iterator[Work]:
        """The composed model's own loss, without a fusion."""
        model = MultimodalModel(self.lm, None, {}, [], Head(HeadConfig())).train()
        try:
            with _embeddings_learn(self.lm), self.clock.watching(self.lm):
                yield lambda: self.clock.backward(model(self.ids, None, self.labels).loss)
        finally:
            model.attachment.detach()


class Fused(Subject):
    """The LM with fusions that read features which were computed before.

    Args:
        name: of the row.
        lm: shared by all rows.
        workload: sizes.
        fusions: built for this LM.
        infos: by encoder name, sizes of its features.
        served: by fusion name, the encoders it reads.
        encoders: makes those that run in every step if a fusion changes them; None where none
            does.
        lora: options of LoRA beside the fusion.
    """

    def __init__(
        self,
        name: str,
        lm: PreTrainedModel,
        workload: Workload,
        fusions: list[Fusion],
        infos: Mapping[str, EncoderInfo],
        served: Mapping[str, list[str]],
        encoders: Callable[[], dict[str, Encoder]] | None = None,
        lora: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, lm, workload)
        self.fusions, self.infos, self.served = fusions, dict(infos), dict(served)
        self.encoders, self.lora = encoders, lora
        for fusion in fusions:
            fusion.to(lm.device)
            self.clock.watch_fusion(fusion)
        self.clock.learner = FUSION
        self._bytes = sum(p.numel() * p.element_size() for f in fusions for p in f.parameters())

    @property
    def adapter_bytes(self) -> int:
        """Bytes of what trains; LoRA and bottlenecks are known once they were attached."""
        return self._bytes

    @contextmanager
    def training(self) -> Iterator[Work]:
        """One step of AdamW on the adapter."""
        with self._attached(self.workload.batch_size) as (model, media):
            model.train()
            learnt = [p for p in model.parameters() if p.requires_grad]
            self._bytes = sum(p.numel() * p.element_size() for p in learnt)
            optimizer = torch.optim.AdamW(learnt, lr=1e-6, fused=True)  # as `mmadapt train`

            def step() -> None:
                self.clock.backward(model(self.ids, None, self.labels, media=media).loss)
                optimizer.step()
                optimizer.zero_grad()

            with self.clock.watching(self.lm, model.encoders):
                yield step

    @contextmanager
    def generating(self, batch_size: int) -> Iterator[Work]:
        """`generate_batch` with the memory made once."""
        ids = self.workload.text(batch_size, self.lm.device)
        with self._attached(batch_size) as (model, media):
            model.eval()
            yield lambda **options: model.generate_batch(ids, media=media, **options)

    def _model(self) -> MultimodalModel:
        # Made anew, because a model keeps no more of an encoder's blocks than are read.
        encoders = self.encoders() if self.encoders else {}
        served = self.served if encoders else {name: [] for name in self.served}
        head = Head(HeadConfig())
        model = MultimodalModel(
            self.lm, None, encoders, self.fusions, head, served=served, lora=self.lora
        )
        if not model.attachment.rewritten:
            self.encoders = None
        return model

    @contextmanager
    def _attached(self, batch_size: int) -> Iterator[tuple[MultimodalModel, Any]]:
        """The model and its media; features stand ready unless a fusion changes the encoder."""
        model = self._model()
        try:
            if model.attachment.rewritten:
                model.encoders.to(self.lm.device)
                encoders = cast(Mapping[str, Encoder], model.encoders)
                yield model, {n: self._values(e, batch_size) for n, e in encoders.items()}
                return
            features = {fusion.name: self._features(fusion, batch_size) for fusion in self.fusions}
            setattr(model, "encode", lambda media: features)  # noqa: B010
            yield model, None
        finally:
            model.attachment.detach()

    def _features(self, fusion: Fusion, batch_size: int) -> dict[str, Features]:
        infos = {name: self.infos[name] for name in self.served[fusion.name]}
        return self.workload.features(fusion, infos, batch_size, self.lm.device)

    def _values(self, encoder: Encoder, batch_size: int) -> MediaInputs:
        """Random media as the encoder's processor gives them."""
        values = example_values(encoder, self.workload.items)
        values = values.expand(batch_size, *values.shape).to(self.lm.device)
        item = torch.zeros(values.shape[:2], dtype=torch.long, device=self.lm.device)
        return {"values": values, "item": item}


@contextmanager
def _embeddings_learn(lm: PreTrainedModel) -> Iterator[None]:
    """The backward pass reaches the input embeddings, though nothing is trained."""

    def require(module: Any, args: Any, output: Tensor) -> Tensor:
        return output.requires_grad_()

    handle = cast(Any, lm.get_input_embeddings()).register_forward_hook(require)
    try:
        yield
    finally:
        handle.remove()
