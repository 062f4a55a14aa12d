"""Fingerprints of base models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmadapt.adapters.checkpoint import fingerprint


def test_a_changed_value_changes_it_and_precision_does_not():
    torch.manual_seed(0)
    model = nn.Linear(40, 30)
    before = fingerprint(model)
    assert fingerprint(model.to(torch.bfloat16))["values"] == before["values"]
    with torch.no_grad():
        model.weight[-1, -1] += 1
    assert fingerprint(model)["values"] != before["values"]
    assert fingerprint(model)["shapes"] == before["shapes"]


@pytest.mark.parametrize("size", [1, 2, 16, 17, 28_311_552])  # the last is beyond float32 integers
def test_any_size_of_tensor(size):
    model = nn.Module()
    model.register_parameter("p", nn.Parameter(torch.zeros(size, dtype=torch.bfloat16)))
    assert fingerprint(model)["parameters"] == size
