"""Where a model lies: what transformers has placed stays, everything else joins it."""

from __future__ import annotations

import pytest
import torch

from mmadapt import attach
from mmadapt.errors import ModelError
from mmadapt.types import State, TextInputs
from tests.core.test_model import join


def placed(monkeypatch, device):
    """A model whose LM says that it was placed on `device` (weights stay where they are)."""
    model = join()
    monkeypatch.setattr(model.lm, "hf_device_map", {"": device}, raising=False)
    moved = []
    for name in ("encoders", "fusions", "lm"):
        part = getattr(model, name)
        monkeypatch.setattr(part, "to", lambda to, name=name: moved.append((name, str(to))))
    return model, moved


def test_a_free_model_is_moved_as_a_whole():
    model = join()
    assert not model.is_placed
    assert model.place("cpu") is model and model.device.type == "cpu"
    model.place("meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_a_placed_lm_stays_and_the_others_join_it(monkeypatch):
    model, moved = placed(monkeypatch, "cpu")
    assert model.is_placed
    model.place()
    model.place("cpu")
    assert moved == [("encoders", "cpu"), ("fusions", "cpu")] * 2
    with pytest.raises(ModelError, match=r"lies on cpu because of lm\.device_map.*cuda:1"):
        model.place("cuda:1")


@pytest.mark.parametrize("mark", ["is_quantized", "quantization_method"])
def test_a_quantised_lm_is_placed(monkeypatch, mark):
    model = join()
    monkeypatch.setattr(model.lm, mark, True, raising=False)
    assert model.is_placed


def test_a_device_that_is_not_there_is_one_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, whose absence is tested")
    with pytest.raises(ModelError, match="device cuda cannot be used"):
        join().place("cuda")


def test_what_a_layer_reads_is_carried_to_the_text_and_back():
    """One way at a time: nothing can be copied out of the meta device."""
    ids = torch.zeros(2, 3, dtype=torch.long, device="meta")
    state = State(TextInputs(ids, ids.bool(), None, ids))
    x = torch.ones(2, 3, 4)
    assert attach._unflatten(x, state).device.type == "meta"
    assert attach._as(x, x.to("meta")).device.type == "meta"
    assert attach._as(x, x.half()).dtype == torch.float16
