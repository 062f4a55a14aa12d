"""Loading the frozen LM: quantised, from GGUF, in another precision, placed by `device_map`."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from mmadapt.checking.dry_run import dry_run
from mmadapt.composition import compose, load
from mmadapt.errors import ModelError, RecipeError
from mmadapt.lm import load_lm
from mmadapt.model import MultimodalModel
from mmadapt.recipe import LMPart, load_recipe
from mmadapt.train import train
from tests import world
from tests.tiny import tiny_lm, tiny_tokenizer

IDS = torch.tensor([[1, 4]])


def recipe(lm, **options):
    parts = world.recipe(lm, train={"max_steps": 2})
    parts["lm"] |= options
    return parts


def media():
    return {"image": {"values": torch.ones(1, 1, 5, 8), "item": torch.zeros(1, 1).long()}}


def trained_and_loaded(parts, folder):
    """Trains two steps; the loaded adapter answers as itself, again and again."""
    result = train(parts, folder, allow_code=True, quiet=True)
    assert result["steps"] == 2 and result["train_loss"] > 0
    model, again = (load(folder, allow_code=True) for _ in range(2))
    with torch.no_grad():
        logits = model(IDS, media=media()).logits
        assert torch.equal(again(IDS, media=media()).logits, logits)
    assert model.generate_batch(IDS, media=media(), max_new_tokens=2).shape[0] == 1
    return model


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    return world.save_lm(folder, hidden_size=64, intermediate_size=128, head_dim=16)


@pytest.mark.parametrize("lora", [None, {"r": 2}])
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_lm_trains_and_comes_back(lm, tmp_path, bits, lora):
    pytest.importorskip("bitsandbytes")
    if lora:
        pytest.importorskip("peft")
    parts = recipe(lm, quantization=bits, **({"lora": lora} if lora else {}))
    model = trained_and_loaded(parts, tmp_path / "run")
    assert model.is_placed
    weight = model.lm.get_submodule("model.layers.0.mlp.up_proj").weight
    assert weight.dtype in (torch.int8, torch.uint8)
    names = {name.split(".")[0] for name in model.trainable_parameters()}
    assert names == ({"fusions", "lm"} if lora else {"fusions"})


def test_quantisation_without_its_package_is_one_error(lm, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    with pytest.raises(RecipeError, match=r"lm\.quantization: needs the package 'bitsandbytes'"):
        compose(recipe(lm, quantization="8bit"), allow_code=True)


def write_gguf(lm, file):
    """What llama.cpp would write of a Qwen2, weights in float32."""
    gguf = pytest.importorskip("gguf")
    config = lm.config
    writer = gguf.GGUFWriter(str(file), "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, value in lm.state_dict().items():
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def gguf_lm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    tokenizer = tiny_tokenizer(world.WORDS)
    lm = tiny_lm("qwen2", vocab_size=len(tokenizer))
    del lm.config.head_dim
    write_gguf(lm, folder / "tiny.gguf")
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder, lm


def test_a_gguf_file_is_an_lm(gguf_lm, tmp_path):
    folder, lm = gguf_lm
    parts = recipe(folder, gguf_file="tiny.gguf", tokenizer=str(folder / "tokenizer"))
    model = trained_and_loaded(parts, tmp_path / "run")
    assert all(torch.equal(v, lm.state_dict()[k]) for k, v in model.lm.state_dict().items())
    half = compose({**parts, "lm": {**parts["lm"], "dtype": "bfloat16"}}, allow_code=True)
    assert half.lm.dtype == torch.bfloat16
    assert dry_run(load_recipe(parts), allow_code=True).memory_bytes["lm"] > 0


def test_a_gguf_file_that_is_not_there_is_one_error(gguf_lm):
    folder, _ = gguf_lm
    parts = recipe(folder, gguf_file="other.gguf", tokenizer=str(folder / "tokenizer"))
    with pytest.raises(ModelError, match=r"cannot be loaded: .*other\.gguf"):
        compose(parts, allow_code=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_frozen_weights_have_the_precision_of_the_recipe(lm, dtype):
    model = compose(recipe(lm, dtype=dtype), allow_code=True)
    assert str(model.lm.dtype) == f"torch.{dtype}"
    assert {p.dtype for p in model.fusions.parameters()} == {torch.float32}


def test_device_map_places_the_lm(lm, tmp_path, monkeypatch):
    model = trained_and_loaded(recipe(lm, device_map="auto"), tmp_path / "run")
    assert model.is_placed and model.hf_device_map == {"": str(model.device)}
    homes = []
    monkeypatch.setattr(MultimodalModel, "place", lambda self, *_: homes.append(self) or self)
    compose(recipe(lm, device_map="cpu"), allow_code=True)
    assert len(homes) == 1  # encoders and fusions join it as soon as it is there
    monkeypatch.undo()
    free = compose(recipe(lm), allow_code=True)
    assert not free.is_placed and not hasattr(free, "hf_device_map")
    with pytest.raises(ModelError, match="cannot be loaded"):
        compose(recipe(lm, device_map="no-such-place"), allow_code=True)


def test_code_of_a_model_needs_the_command_lines_word_too(tmp_path):
    part = LMPart(model=str(tmp_path), trust_remote_code=True)
    with pytest.raises(ModelError, match=r"runs code from .*; pass --allow-code if you trust it"):
        load_lm(part)
