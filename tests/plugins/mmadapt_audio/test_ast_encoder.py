"""`ast`: spectrograms equal transformers' own, and levels the model's own hidden states."""

from __future__ import annotations

import pickle

import pytest
import torch
import transformers as hf

from mmadapt.contracts import encoder_info
from mmadapt.errors import ModelError
from mmadapt.types import LevelSpec
from mmadapt_audio.ast_encoder import AstEncoder
from mmadapt_audio.config import AstConfig
from tests.plugins.mmadapt_audio.tiny_audio import (
    BLOCKS,
    RATE,
    WIDTH,
    audio,
    batch_of,
    save_model,
    sound,
)

EXACT = {"rtol": 0.0, "atol": 2e-6}  # float32, the same operations in the same order


def encoder_of(folder, **options) -> AstEncoder:
    return AstEncoder(AstConfig(model=str(folder), **options))


@torch.no_grad()
@pytest.mark.parametrize("name", ["ast", "ast_classifier", "embedded"])
def test_levels_are_the_models_own_hidden_states(name, tmp_path):
    if name == "embedded":
        encoder = encoder_of("embedded:ast")
        own_model, extractor = encoder.model, encoder.spec.extractor
    else:
        own_model, extractor = save_model(name, tmp_path)
        own_model = getattr(own_model, "audio_spectrogram_transformer", own_model)
        encoder = encoder_of(tmp_path)
    waveforms = [sound(0.3, seed=1), sound(2.0, seed=2)]
    raw = [LevelSpec(block) for block in range(encoder.num_levels)]
    last = LevelSpec(encoder.num_levels - 1, normed=True)
    features = encoder(batch_of(encoder, *waveforms), [*raw, last])

    values = extractor(waveforms, sampling_rate=RATE, return_tensors="pt").input_values
    own = own_model(values, output_hidden_states=True)
    for level, state in zip(features.levels, own.hidden_states[1:], strict=False):
        torch.testing.assert_close(level[:, 0], state, **EXACT)
    torch.testing.assert_close(features.levels[-1][:, 0], own.last_hidden_state, **EXACT)
    assert not torch.allclose(features.levels[-1], features.levels[-2])
    height, width = features.grid
    assert features.mask.shape == (2, 1, 2 + height * width) and features.mask.all()
    assert (height, width) == ((4, 15) if name == "embedded" else (3, 5))
    assert features.num_prefix_tokens == 2


@torch.no_grad()
def test_the_grid_is_frequency_then_time(tmp_path):
    save_model("ast", tmp_path)
    encoder = encoder_of(tmp_path)
    inputs = batch_of(encoder, sound(0.5))
    patches = []
    encoder.model.embeddings.patch_embeddings.register_forward_hook(
        lambda module, args, output: patches.append(output)
    )
    encoder(inputs, [LevelSpec(0)])
    inputs["values"][:, :, 60:] += 1.0  # the last of the 5 columns alone reaches frame 60
    encoder(inputs, [LevelSpec(0)])
    moved = (patches[0] - patches[1]).abs().sum(-1).view(encoder.grid) > 0
    assert moved.sum(0).tolist() == [0, 0, 0, 0, 3]


def test_info_needs_no_weights_and_agrees_with_the_loaded_encoder(tmp_path):
    save_model("ast", tmp_path)
    config = AstConfig(model=str(tmp_path), segments=3)
    loaded = encoder_info(AstEncoder(config))
    (tmp_path / "model.safetensors").unlink()
    assert AstEncoder.info(config) == loaded
    assert (loaded.num_levels, loaded.hidden_size, loaded.num_items) == (BLOCKS, WIDTH, 3)
    assert loaded.modality == "audio"


@torch.no_grad()
def test_padded_segments_are_masked_and_are_not_computed(tmp_path):
    save_model("ast", tmp_path)
    encoder = encoder_of(tmp_path, segments=2)
    inputs = batch_of(encoder, sound(1.2), sound(0.4))
    assert inputs["item"].tolist() == [[0, 0], [0, -1]]
    rows = []
    encoder.model.register_forward_hook(lambda module, args, output: rows.append(len(args[0])))
    features = encoder(inputs, [LevelSpec(2)])
    assert rows == [3] and not features.levels[0][1, 1].any()
    assert features.mask.all(dim=2).tolist() == [[True, True], [True, False]]


@torch.no_grad()
def test_keep_blocks_drops_the_later_blocks_and_changes_no_level_before(tmp_path):
    save_model("ast", tmp_path)
    encoder = encoder_of(tmp_path)
    inputs, wanted = batch_of(encoder, sound(0.5)), [LevelSpec(1), LevelSpec(1, normed=True)]
    before = encoder(inputs, wanted).levels
    encoder.keep_blocks(2)
    after = encoder(inputs, wanted).levels
    assert len(encoder.blocks) == 2
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(ModelError, match=r"level 2 .* blocks 0 to 1"):
        encoder(inputs, [LevelSpec(2)])


@torch.no_grad()
def test_mlp_is_the_module_between_the_second_norm_and_the_residual(tmp_path):
    save_model("ast", tmp_path)
    encoder = encoder_of(tmp_path)
    inputs, raw = batch_of(encoder, sound(0.5)), [LevelSpec(0), LevelSpec(1)]
    plain = encoder(inputs, raw).levels
    encoder.mlp(1).register_forward_hook(lambda module, args, output: output + 0.1 * args[0])
    beside = encoder(inputs, raw).levels
    assert torch.equal(plain[0], beside[0]) and not torch.allclose(plain[1], beside[1])


@torch.no_grad()
def test_train_mode_and_dtype(tmp_path):
    save_model("ast", tmp_path)
    encoder = encoder_of(tmp_path)
    inputs, last = batch_of(encoder, sound(0.5)), [LevelSpec(2, normed=True)]
    quiet = encoder(inputs, last).levels[0]
    assert torch.equal(encoder.train()(inputs, last).levels[0], quiet)
    half = encoder_of(tmp_path, dtype="bfloat16")(inputs, last).levels[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), quiet, rtol=0.1, atol=0.1)


def test_processor_pickles_small_and_does_the_same(tmp_path):
    save_model("ast", tmp_path)
    processor = encoder_of(tmp_path).processor
    pickled = pickle.dumps(processor)
    assert len(pickled) < 2000
    part = audio(sound(0.5))
    assert torch.equal(processor(part), pickle.loads(pickled)(part))


def test_other_architectures_and_missing_folders_are_one_line(tmp_path):
    hf.BertConfig(hidden_size=8, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is a 'bert'; this encoder takes 'audio-spectrogram"):
        AstEncoder.info(AstConfig(model=str(tmp_path)))
    with pytest.raises(ModelError, match="nowhere") as caught:
        AstEncoder(AstConfig(model=str(tmp_path / "nowhere")))
    assert "\n" not in str(caught.value)


def test_an_extractor_that_does_not_fit_the_model_is_refused(tmp_path):
    save_model("ast", tmp_path)
    hf.ASTFeatureExtractor(num_mel_bins=40, max_length=100).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"reads 64 frames .* makes 100 of 40"):
        AstEncoder.info(AstConfig(model=str(tmp_path)))


def test_weights_of_another_model_are_refused(tmp_path):
    save_model("ast", tmp_path)
    config = (tmp_path / "config.json").read_text()
    small = hf.ASTConfig.from_pretrained(tmp_path)
    small.num_hidden_layers = 1
    hf.ASTModel(small).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"lacks .* weights of type audio-spectrogram-transformer"):
        encoder_of(tmp_path)


def test_fingerprint_tells_what_is_fed_apart(tmp_path):
    save_model("ast", tmp_path)
    same = [encoder_of(tmp_path).fingerprint_config() for _ in range(2)]
    assert same[0] == same[1]
    assert encoder_of(tmp_path, mean=-4.2677393).fingerprint_config() != same[0]
