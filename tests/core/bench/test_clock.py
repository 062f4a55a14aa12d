import time

import pytest
import torch
from torch import nn

from mmadapt.bench.clock import FUSION, HEAD, LM, StageClock

CPU = torch.device("cpu")


class Slow(torch.autograd.Function):
    """Sleeps for so long forward, and for so long backward."""

    @staticmethod
    def forward(ctx, x, there, back):
        time.sleep(there)
        ctx.back = back
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(ctx.back)
        return gradient, None, None


def test_backward_time_belongs_to_the_stage_that_made_the_node():
    clock, weight = StageClock(CPU, FUSION), nn.Parameter(torch.ones(3))
    fuse = clock.clocked(FUSION, lambda x: Slow.apply(x * weight, 0.05, 0.2))

    def step():
        x = Slow.apply(torch.ones(3, requires_grad=True), 0.1, 0.0)
        x = Slow.apply(fuse(x), 0.0, 0.1)
        clock.switch(HEAD)
        clock.backward(Slow.apply(x, 0.05, 0.0).sum())
        time.sleep(0.05)  # the optimiser

    found = clock.measure(step)
    assert found[LM] == pytest.approx(0.2, abs=0.04)
    assert found[FUSION] == pytest.approx(0.3, abs=0.04)
    assert found[HEAD] == pytest.approx(0.05, abs=0.04)
    assert found["encoder"] == found["decode"] == 0


def test_a_clock_at_rest_notes_nothing():
    clock = StageClock(CPU)
    clock.clocked(FUSION, lambda: clock.switch(HEAD))()
    clock.backward(torch.ones(1, requires_grad=True).sum())
    assert clock._marks == []
