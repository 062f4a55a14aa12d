"""Loading base models: a hub that cannot be reached costs no time."""

from __future__ import annotations

import json
import socket
import time

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoConfig, AutoModelForCausalLM

from mmadapt.composition import load
from mmadapt.errors import AdapterError, ModelError
from mmadapt.weights import hub_is_reachable, load_pretrained
from tests import world


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    hub_is_reachable.cache_clear()
    yield
    hub_is_reachable.cache_clear()


@pytest.fixture
def cut_off(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "create_connection", refuse)


def test_an_unreachable_hub_is_one_quick_error(cut_off):
    started = time.perf_counter()
    for kind in (AutoConfig, AutoModelForCausalLM):
        with pytest.raises(ModelError, match="org/none cannot be loaded: the hub cannot be"):
            load_pretrained(kind.from_pretrained, "org/none")
    with pytest.raises(AdapterError, match="org/none is neither a folder nor an adapter"):
        load("org/none")
    assert time.perf_counter() - started < 3


def test_folders_need_no_hub(cut_off, tmp_path):
    folder = world.save_lm(tmp_path / "lm")
    assert load_pretrained(AutoConfig.from_pretrained, str(folder)).model_type == "llama"


def test_the_hub_is_asked_once_at_its_own_address(monkeypatch):
    asked = []

    class Connection:
        def close(self):
            pass

    def connect(address, timeout):
        asked.append((address, timeout))
        return Connection()

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("mmadapt.weights.getproxies", dict)
    monkeypatch.setattr(constants, "ENDPOINT", "http://mirror.test:8080/hub")
    assert hub_is_reachable() and hub_is_reachable()
    assert asked == [(("mirror.test", 8080), 5.0)]


def test_offline_by_choice_and_behind_a_proxy(monkeypatch, cut_off):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_is_reachable()
    hub_is_reachable.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    assert hub_is_reachable()


def test_code_of_a_model_is_neither_run_nor_asked_about(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('the code was run')\n")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    with pytest.raises(ModelError, match=r"lm\.trust_remote_code: true and pass --allow-code"):
        load_pretrained(AutoConfig.from_pretrained, str(tmp_path))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "the memory of the GPU does not suffice"),
        (RuntimeError("[alloc] DefaultCPUAllocator: can't allocate"), "this machine does not"),
        (MemoryError(), "the memory of this machine does not suffice: use a smaller model"),
        (AssertionError(), "its files are damaged: AssertionError$"),
        (RuntimeError("no header\nat all"), "its files are damaged: RuntimeError: no header$"),
        (OSError(), "OSError$"),
    ],
)
def test_what_goes_wrong_while_loading_is_named(tmp_path, error, said):
    def load(place):
        raise error

    with pytest.raises(ModelError, match=said):
        load_pretrained(load, str(tmp_path))
