"""Adapter folders: back to the bit, whole or not at all, refused where they do not fit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mmadapt.adapters import checkpoint
from mmadapt.adapters.checkpoint import BASES, CARD, WEIGHTS, load_into, read_tensors, write_tensors
from mmadapt.contracts import Head
from mmadapt.errors import AdapterError
from mmadapt.model import MultimodalModel
from tests.tiny import TinyEncoder, context, tiny_lm
from tests.toy import EverySite, EverySiteConfig

GATE = "fusions.toy.gates.mlp_output"


def join(seed=0, lm=None, width=24, cls=EverySite, encoder_seed=7):
    lm = lm or tiny_lm("llama")
    torch.manual_seed(encoder_seed)
    encoders = {"image": TinyEncoder(width=width)}
    torch.manual_seed(seed)
    fusion = cls(EverySiteConfig(sites=("mlp_output",)), context(lm, encoders, "toy"))
    return MultimodalModel(lm, None, encoders, [fusion], Head(None)).eval()


@pytest.fixture
def adapter(tmp_path):
    join().save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def values(model):
    return {name: tensor.clone() for name, tensor in model.adapter_state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rewrite(adapter, tensors, metadata=None):
    """Puts other tensors into an adapter folder that is otherwise in order."""
    save_file(tensors, adapter / WEIGHTS, metadata=metadata)
    bases = json.loads((adapter / BASES).read_text())
    bases["weights"] = checkpoint.file_digest(adapter / WEIGHTS)
    (adapter / BASES).write_text(json.dumps(bases))


def refused(adapter, match, model=None):
    """Loading fails with one clear sentence and changes nothing."""
    model = model or join(seed=1)
    before = values(model)
    with pytest.raises(AdapterError, match=match) as found:
        load_into(model, adapter)
    assert "\n" not in str(found.value)
    assert same(values(model), before)


def test_there_and_back(adapter):
    model = join(seed=1)
    assert not same(values(model), values(join()))
    load_into(model, adapter)
    assert same(values(model), values(join()))
    assert {file.name for file in adapter.iterdir()} == {WEIGHTS, BASES, CARD}
    assert (adapter.stat().st_mode & 0o777) == 0o755


def test_only_the_adapter_is_saved(adapter):
    assert set(load_file(adapter / WEIGHTS)) == set(join().trainable_parameters())
    assert (adapter / WEIGHTS).stat().st_size < 20_000


def test_parameters_with_two_names_come_back(tmp_path):
    class Tied(EverySite):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.again = self.project

    model = join(cls=Tied)
    model.save_pretrained(tmp_path / "adapter")
    other = join(seed=1, cls=Tied)
    load_into(other, tmp_path / "adapter")
    assert same(values(other), values(model)) and other.fusions["toy"].again.weight is (
        other.fusions["toy"].project.weight
    )


def test_missing_surplus_and_misshapen_tensors_are_all_named(adapter):
    tensors = load_file(adapter / WEIGHTS)
    del tensors["fusions.toy.token.bias"]
    tensors["fusions.toy.wings"] = torch.zeros(2)
    tensors[GATE] = torch.zeros(4, 8)
    rewrite(adapter, tensors)
    refused(
        adapter,
        r"does not fit the model: missing: fusions\.toy\.token\.bias; "
        r"surplus: fusions\.toy\.wings; "
        r"fusions\.toy\.gates\.mlp_output is \(4, 8\), the model needs \(4, 32\)",
    )


@pytest.mark.parametrize("change", ["missing", "surplus", "misshapen"])
def test_each_misfit_alone_is_refused(adapter, change):
    tensors = load_file(adapter / WEIGHTS)
    if change == "missing":
        del tensors[GATE]
    elif change == "surplus":
        tensors["fusions.toy.wings"] = torch.zeros(2)
    else:
        tensors[GATE] = torch.zeros(4, 8)
    rewrite(adapter, tensors)
    refused(adapter, "does not fit the model")


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "flipped"])
def test_damaged_weights_are_refused(adapter, damage):
    data = bytearray((adapter / WEIGHTS).read_bytes())
    if damage == "flipped":
        data[-5] ^= 1
    changed = {"cut": data[:-9], "empty": b"", "noise": b"\xff" * 99, "flipped": data}[damage]
    (adapter / WEIGHTS).write_bytes(changed)
    refused(adapter, "not the file that was saved" if damage == "flipped" else "is damaged")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"models": 3, "weights": ""}', '{"models": null, "weights": ""}', "\udcff"],
)
def test_damaged_fingerprints_are_refused(adapter, content):
    (adapter / BASES).write_bytes(content.encode(errors="surrogateescape"))
    refused(adapter, "missing or damaged, so the base models are unknown")


def test_missing_files_are_named(adapter, tmp_path):
    refused(tmp_path, "is no adapter folder: it has no adapter.safetensors")
    (adapter / BASES).unlink()
    refused(adapter, "base_models.json is missing")


def test_a_newer_format_asks_for_an_upgrade(adapter):
    rewrite(adapter, load_file(adapter / WEIGHTS), {"mmadapt_format": "99"})
    refused(adapter, "has format 99; this mmadapt reads 1: upgrade it")


def test_another_lm_of_the_same_shape_is_refused(adapter):
    refused(
        adapter, "lm: the adapter was trained on another model", join(lm=tiny_lm("llama", seed=5))
    )


def test_another_family_is_refused_by_its_name(adapter):
    other = join(lm=tiny_lm("opt"))
    refused(
        adapter, r"LlamaForCausalLM, \d+ parameters\) than the one given \(OPTForCausalLM", other
    )


def test_another_encoder_is_refused(adapter):
    refused(adapter, r"encoders\.image: the adapter was trained on another", join(encoder_seed=8))


def test_an_encoder_that_was_not_there_is_named(adapter):
    bases = json.loads((adapter / BASES).read_text())
    bases["models"]["encoders.audio"] = bases["models"].pop("encoders.image")
    (adapter / BASES).write_text(json.dumps(bases))
    refused(adapter, "trained without 'encoders.image'; it has encoders.audio, lm")


def test_the_same_lm_in_another_precision_is_accepted(adapter):
    model = join(seed=1, lm=tiny_lm("llama").to(torch.bfloat16))
    load_into(model, adapter)
    assert same(values(model), values(join()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_another_lm_in_another_precision_is_refused(tmp_path, dtype):
    join(lm=tiny_lm("llama").to(dtype)).save_pretrained(tmp_path / "adapter")
    other = {torch.bfloat16: torch.float32, torch.float32: torch.bfloat16}[dtype]
    load_into(join(lm=tiny_lm("llama").to(other)), tmp_path / "adapter")
    refused(
        tmp_path / "adapter",
        "lm: the adapter was trained on another model",
        join(lm=tiny_lm("llama", seed=5).to(other)),
    )


def break_after(monkeypatch, owner, name, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(owner, name, fail)


FAILURES = [
    ("save_file", OSError(28, "No space left on device")),
    ("save_file", SafetensorError("Error while serializing: I/O error: No space left on device")),
    ("model_card", OSError(28, "No space left on device")),
    ("base_fingerprints", KeyboardInterrupt()),
]


@pytest.mark.parametrize(("function", "error"), FAILURES)
def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch, function, error):
    break_after(monkeypatch, checkpoint, function, error)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else AdapterError
    with pytest.raises(expected, match="" if expected is KeyboardInterrupt else "No space left"):
        join().save_pretrained(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("function", "error"), FAILURES)
def test_a_failing_write_leaves_the_old_adapter(adapter, monkeypatch, function, error):
    before = {file.name: file.read_bytes() for file in adapter.iterdir()}
    break_after(monkeypatch, checkpoint, function, error)
    with pytest.raises((AdapterError, KeyboardInterrupt)):
        join(seed=1).save_pretrained(adapter)
    assert {file.name: file.read_bytes() for file in adapter.iterdir()} == before
    assert list(adapter.parent.iterdir()) == [adapter]


def test_a_folder_replaced_halfway_is_refused(adapter, monkeypatch):
    original, calls = checkpoint.os.replace, []

    def crash(source, target):
        calls.append(target)
        if Path(target) == adapter / WEIGHTS:
            raise OSError(5, "Input/output error")
        return original(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", crash)
    with pytest.raises(AdapterError, match="cannot be written: Input/output error"):
        join(seed=2).save_pretrained(adapter)
    assert len(calls) > 2
    refused(adapter, "written halfway; save the adapter again")


def test_saving_again_replaces_the_adapter_and_keeps_other_files(adapter):
    (adapter / "notes.txt").write_text("mine")
    join(seed=3).save_pretrained(adapter)
    model = join()
    load_into(model, adapter)
    assert same(values(model), values(join(seed=3)))
    assert (adapter / "notes.txt").read_text() == "mine"
    assert list(adapter.parent.iterdir()) == [adapter]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match=r"file/adapter: cannot be written"):
        join().save_pretrained(tmp_path / "file" / "adapter")


def test_the_card_says_what_the_adapter_is(adapter):
    card = (adapter / CARD).read_text()
    assert "LlamaForCausalLM" in card and "encoder image: TinyEncoder" in card
    trained = sum(p.numel() for p in join().trainable_parameters().values())
    assert f"{trained:,} of" in card and 'generate(image="FILE")' in card


def test_tensors_of_any_layout_are_written(tmp_path):
    tensors = {"t": torch.arange(6.0).view(2, 3).t(), "p": nn.Parameter(torch.ones(2))}
    write_tensors(tensors, tmp_path / "x.safetensors")
    found = read_tensors(tmp_path / "x.safetensors")
    assert torch.equal(found["t"], tensors["t"]) and torch.equal(found["p"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format_version": 2}, "base_models.json has format 2; this mmadapt reads 1: upgrade it"),
        ({"format_version": 0}, "is damaged: it names no format"),
        ({"format_version": "1"}, "is damaged: it names no format"),
        ({"models": [["lm", 1]]}, "missing or damaged, so the base models are unknown"),
        ({"filler": "x" * 2**20}, "missing or damaged"),
    ],
)
def test_fingerprints_of_another_format(adapter, change, match):
    bases = json.loads((adapter / BASES).read_text())
    (adapter / BASES).write_text(json.dumps(bases | change))
    refused(adapter, match)


def test_nested_fingerprints_and_a_pipe_are_refused(adapter):
    (adapter / BASES).write_text("[" * 100_000)
    refused(adapter, "missing or damaged")
    (adapter / BASES).unlink()
    os.mkfifo(adapter / BASES)  # reading it would wait forever
    refused(adapter, "missing or damaged")


@pytest.mark.parametrize("dtypes", [3, None, [[]], [{}], "float32"])
def test_strange_dtypes_in_fingerprints_are_no_crash(adapter, dtypes):
    bases = json.loads((adapter / BASES).read_text())
    bases["models"]["lm"] |= {"dtypes": dtypes}
    (adapter / BASES).write_text(json.dumps(bases))
    try:
        load_into(join(seed=1), adapter)
    except AdapterError as error:
        assert "was trained on another model" in str(error)


def test_whole_numbers_for_weights_are_refused(adapter):
    tensors = load_file(adapter / WEIGHTS)
    tensors[GATE] = torch.zeros(tensors[GATE].shape, dtype=torch.int64)
    rewrite(adapter, tensors)
    refused(adapter, r"gates\.mlp_output holds int64, the model needs float32")


@pytest.mark.parametrize("name", [WEIGHTS, BASES])
def test_a_link_out_of_the_folder_is_refused(adapter, name):
    (adapter / name).rename(adapter.parent / name)
    (adapter / name).symlink_to(adapter.parent / name)
    refused(adapter, "a link that leads out of the adapter's folder")


def test_the_links_of_the_hubs_cache_are_followed(adapter, tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b/snapshots/0f"
    blobs.mkdir(parents=True), snapshot.mkdir(parents=True)
    for file in adapter.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(blobs / file.name)
    model = join(seed=1)
    load_into(model, snapshot)
    assert same(values(model), values(join()))
