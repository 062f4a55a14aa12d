"""The shipped weights: small, ordinary folders that know their side of the world."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
)

from mmadapt_embedded import pretrain_ast, pretrain_lm, pretrain_vit
from mmadapt_embedded.folder import NAMES, WEIGHTS, resolve
from mmadapt_embedded.grammar import OPENINGS
from mmadapt_embedded.tokenizer import build_tokenizer
from mmadapt_shapes.scenes import video_scene
from mmadapt_shapes.tones import SAMPLE_RATE, waveform
from mmadapt_shapes.world import COLOURS, SHAPES, combinations

SCRIPTS = {"lm": pretrain_lm, "vit": pretrain_vit, "ast": pretrain_ast}


def test_together_under_twelve_megabytes():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) < 12e6


@pytest.mark.parametrize("name", NAMES)
def test_the_record_says_what_pretraining_saw(name):
    record = json.loads((resolve(name) / "pretraining.json").read_text())
    assert {"part", "seed", "steps", "batch_size", "saw", "combinations"} <= record.keys()
    assert record["part"] == name
    script = SCRIPTS[name]
    assert (record["steps"], record["batch_size"]) == (script.STEPS, script.BATCH)
    assert ("training combinations" in record["combinations"]) == (name != "lm")


@pytest.mark.parametrize("name", NAMES)
def test_weights_load_whole_and_in_float32(name):
    auto = AutoModelForCausalLM if name == "lm" else AutoModel
    model, report = auto.from_pretrained(resolve(name), output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_language_model_words_captions_and_knows_no_media():
    tokenizer = AutoTokenizer.from_pretrained(resolve("lm"))
    model = AutoModelForCausalLM.from_pretrained(resolve("lm"))
    inputs = tokenizer(OPENINGS["video"] + " a", return_tensors="pt")
    with torch.no_grad():
        shares = model(**inputs).logits[0, -1].softmax(-1)
    colours = shares[[tokenizer.convert_tokens_to_ids(colour) for colour in COLOURS]]
    assert colours.sum() > 0.95
    assert colours.max() < 2.5 / len(COLOURS), "no colour is preferred"
    inputs = tokenizer(OPENINGS["video"] + " a red ring growing", return_tensors="pt")
    end = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, -1]
    assert end == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("(growing red ring) a video of a", "red"),
        ("(top left blue cross small) a picture of a small blue", "cross"),
        (
            "a sound of a low pure tone rising. question: what kind of tone is heard? answer:",
            "pure",
        ),
    ],
)
def test_the_language_model_uses_what_stands_before(text, word):
    tokenizer = AutoTokenizer.from_pretrained(resolve("lm"))
    model = AutoModelForCausalLM.from_pretrained(resolve("lm"))
    with torch.no_grad():
        shares = model(**tokenizer(text, return_tensors="pt")).logits[0, -1].softmax(-1)
    assert shares[tokenizer.convert_tokens_to_ids(word)] > 0.9


def test_the_shipped_tokenizer_is_the_scripts():
    shipped, built = AutoTokenizer.from_pretrained(resolve("lm")), build_tokenizer()
    assert shipped.get_vocab() == built.get_vocab()
    text = "a red ring, growing? zebra"
    assert shipped(text)["input_ids"] == built(text)["input_ids"]


def test_the_tokenizer_gives_words_back():
    tokenizer = AutoTokenizer.from_pretrained(resolve("lm"))
    ids = tokenizer("A red circle moving left")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a red circle moving left"


def _probe(train, labels, test, wanted):
    """Least squares on one-hot labels: the share of test rows that it names rightly."""
    targets = torch.nn.functional.one_hot(labels).float()
    ones = torch.ones(len(train), 1)
    weights = torch.linalg.lstsq(torch.cat([train, ones], 1), targets).solution
    read = torch.cat([test, torch.ones(len(test), 1)], 1) @ weights
    return (read.argmax(1) == wanted).float().mean()


def test_the_vision_transformer_sees_unseen_clips():
    processor = AutoImageProcessor.from_pretrained(resolve("vit"))
    model = AutoModel.from_pretrained(resolve("vit")).eval()

    def seen(split, count, seed):
        rng = np.random.default_rng(seed)
        kinds = combinations("video", split)
        kinds = [kinds[3 * i % len(kinds)] for i in range(count)]
        frames = [video_scene(rng, kind).frames(rng)[4] for kind in kinds]
        with torch.no_grad():
            tokens = model(**processor(frames, return_tensors="pt")).last_hidden_state
        return tokens[:, 1:].mean(1), torch.tensor([SHAPES.index(k["shape"]) for k in kinds])

    assert _probe(*seen("train", 350, 0), *seen("test", 70, 1)) > 0.9


def test_the_audio_transformer_hears_unseen_sounds():
    extractor = AutoFeatureExtractor.from_pretrained(resolve("ast"))
    model = AutoModel.from_pretrained(resolve("ast")).eval()

    def heard(split, count, seed):
        rng = np.random.default_rng(seed)
        kinds = combinations("audio", split)
        kinds = [kinds[i % len(kinds)] for i in range(count)]
        waves = [waveform(rng, kind).astype(np.float32) for kind in kinds]
        inputs = extractor(waves, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.no_grad():
            tokens = model(**inputs).last_hidden_state
        contours = ("rising", "falling", "steady", "wavering")
        return tokens[:, 2:].mean(1), torch.tensor([contours.index(k["contour"]) for k in kinds])

    assert _probe(*heard("train", 414, 0), *heard("test", 84, 1)) > 0.9
