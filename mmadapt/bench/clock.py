"""What a training step spends its time on: a clock that changes its stage forward and backward."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from mmadapt.bench.measure import synchronize
from mmadapt.contracts import Fusion
from mmadapt.contracts.fusion import SITES

DECODE, ENCODER, FUSION, LM, HEAD = STAGES = ("decode", "encoder", "fusion", "lm", "head")
_FUSION_METHODS = (*SITES, "reduce", "embeds", "prepare", "aux_loss")


class StageClock:
    """Seconds of a step by stage.

    In the forward pass, hooks say which stage begins. In the backward pass, each node of the graph
    counts for the stage in which the forward pass made it, found by its number. On a GPU, events
    in its stream take the place of the clock on the wall. A clock that does not run costs a
    comparison.

    Args:
        device: where the step runs.
        learner: the stage of gradients' accumulation and of the optimiser.
    """

    def __init__(self, device: torch.device, learner: str = LM) -> None:
        self.device, self.learner = device, learner
        self.runs = False
        self._stage = LM
        self._marks: list[tuple[str, Any]] = []  # the stage that begins, and when
        self._numbers: list[int] = []  # of the first node of the forward pass's stages
        self._stages: list[str] = []

    def measure(self, step: Callable[[], Any]) -> dict[str, float]:
        """Seconds of one step by stage."""
        self._marks, self._numbers, self._stages = [], [], []
        synchronize(self.device)
        self.runs = True
        try:
            self._begin(LM)
            step()
            self._marks.append((LM, self._now()))
        finally:
            self.runs = False
        synchronize(self.device)
        result = dict.fromkeys(STAGES, 0.0)
        for (stage, start), (_, end) in pairwise(self._marks):
            result[stage] += _between(start, end)
        return result

    def backward(self, loss: Tensor) -> None:
        """The backward pass of a loss, node by node."""
        if self.runs:
            for node in _nodes(loss):
                node.register_prehook(self._on_node(node))
        loss.backward()
        self.switch(self.learner)

    def switch(self, stage: str) -> None:
        """What runs from now on counts for another stage."""
        if self.runs and stage != self._stage:
            self._begin(stage)

    def _begin(self, stage: str) -> None:
        self._stage = stage
        self._marks.append((stage, self._now()))
        self._numbers.append(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]
        self._stages.append(stage)

    def _on_node(self, node: Any) -> Callable[..., None]:
        learns = hasattr(node, "variable")  # where the gradient of a parameter arrives
        place = bisect_right(self._numbers, _number(node)) - 1
        stage = self.learner if learns else self._stages[place]

        def hook(*_: Any) -> None:
            if stage != self._stage:
                self._stage = stage
                self._marks.append((stage, self._now()))

        return hook

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def clocked(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time counts for a stage."""

        def timed(*args: Any, **options: Any) -> Any:
            before = self._stage
            self.switch(stage)
            try:
                return function(*args, **options)
            finally:
                self.switch(before)

        return timed

    def watch_fusion(self, fusion: Fusion) -> None:
        """Clocks all that a fusion does; to be called before it is attached."""
        for name in _FUSION_METHODS:
            setattr(fusion, name, self.clocked(FUSION, getattr(fusion, name)))

    @contextmanager
    def watching(self, lm: nn.Module, encoders: nn.Module | None = None) -> Iterator[None]:
        """Clocks an LM, its head with what follows until the backward pass, and encoders."""
        head: Any = getattr(lm, "get_output_embeddings")()  # noqa: B009
        handles = [
            lm.register_forward_pre_hook(lambda *_: self.switch(LM)),
            head.register_forward_pre_hook(lambda *_: self.switch(HEAD)),
        ]
        for encoder in encoders.children() if encoders is not None else ():
            handles.append(encoder.register_forward_pre_hook(lambda *_: self.switch(ENCODER)))
            handles.append(encoder.register_forward_hook(lambda *_: self.switch(LM)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _nodes(loss: Tensor) -> Iterator[Any]:
    """Every node of a loss's graph, once."""
    waiting, met = [loss.grad_fn], {loss.grad_fn}
    while waiting:
        node: Any = waiting.pop()
        yield node
        new = {below for below, _ in node.next_functions if below is not None} - met
        met |= new
        waiting += new


def _number(node: Any) -> int:
    return int(node._sequence_nr())


def _between(start: Any, end: Any) -> float:
    if isinstance(start, float):
        return float(end - start)
    return float(start.elapsed_time(end)) / 1000
