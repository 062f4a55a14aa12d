"""Candidates scored by likelihood, from the cache of the prompts and from whole texts."""

import pytest
import torch

from mmadapt.contracts import Fusion
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.errors import DataError
from mmadapt.generation.candidates import AT_ONCE, Pair, choose, log_likelihoods
from mmadapt.testing.case import calls_of
from mmadapt.text import target_ids
from tests import world


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return world.untrained(tmp_path_factory.mktemp("lm"))


def samples_of(count):
    return list(world.LongPrompts(world.ColourConfig(count=count)))


def batch_of(model, samples):
    dataset = MediaDataset(samples, model.head, model.tokenizer, model.processors, training=False)
    return Collator(0, with_labels=False)([dataset[i] for i in range(len(samples))])


def pairs_of(model, samples, texts):
    prompts = [model.head.prompt(sample) for sample in samples]
    return [
        Pair(row, target_ids(model.tokenizer, prompts[row], text)) for row, text in enumerate(texts)
    ]


@pytest.mark.parametrize("causal", [True, False])
def test_likelihoods_are_those_of_the_whole_text(model, monkeypatch, causal):
    """The sum of log-probabilities, read off the logits at all positions of one sample."""
    monkeypatch.setattr(Fusion, "causal", causal)
    samples = samples_of(4)
    texts = ["red", "green blue", "pink", "dark light red"]
    given = log_likelihoods(model, batch_of(model, samples), pairs_of(model, samples, texts))
    for row, text in enumerate(texts):
        told = MediaDataset(
            [{**samples[row], "target": text}], model.head, model.tokenizer, model.processors,
            training=True,
        )  # fmt: skip
        batch = Collator(0)([told[0]])
        labels = batch.pop("labels")[0]
        with torch.no_grad():
            output = model(**batch)
        log_probs = output.logits[0].log_softmax(-1)
        shift = log_probs.shape[0] - labels.shape[0]  # tokens that the fusion inserted in front
        expected = sum(
            float(log_probs[shift + i - 1, label]) for i, label in enumerate(labels) if label >= 0
        )
        assert float(given[row]) == pytest.approx(expected, abs=1e-4)


def test_the_likeliest_candidate_is_chosen(model):
    samples = samples_of(3)
    candidates = [["red", "pink"], ["green"], ["blue", "dark light", "red"]]
    chosen = choose(model, samples, batch_of(model, samples), candidates)
    for row, given in enumerate(candidates):
        alone = [samples[row]] * len(given)
        scores = log_likelihoods(model, batch_of(model, alone), pairs_of(model, alone, given))
        assert chosen[row] == given[int(scores.argmax())]
    with pytest.raises(DataError, match="s1: has an empty list of candidates"):
        choose(model, samples, batch_of(model, samples), [["red"], [], ["red"]])


@pytest.mark.parametrize(("score", "best"), [("sum", "red"), ("mean", "dark light blue")])
def test_the_mean_forgives_long_candidates(model, monkeypatch, score, best):
    monkeypatch.setattr(
        "mmadapt.generation.candidates.log_likelihoods", lambda *_: torch.tensor([-4.0, -7.0])
    )
    monkeypatch.setattr(model.head, "score", score, raising=False)
    samples = samples_of(1)  # with EOS, the candidates have 2 and 4 tokens
    given = ["red", "dark light blue"]
    assert choose(model, samples, batch_of(model, samples), [given]) == [best]


def test_media_and_prompt_are_read_once_for_any_number_of_candidates(model):
    samples = samples_of(2)
    many = [["red", "green", "blue", "pink", "dark light"] * AT_ONCE, ["red"]]  # 81 candidates
    (encoder,) = model.encoders.values()
    with calls_of(encoder) as encoded, calls_of(model.lm) as read:
        choose(model, samples, batch_of(model, samples), many)
    assert encoded() == 1
    assert read() == 1 + 6  # the prompts, then 81 candidates, 16 at once


def test_training_mode_is_given_back(model):
    samples = samples_of(2)
    model.train()
    choose(model, samples, batch_of(model, samples), [["red"], ["blue"]])
    assert model.training
    model.eval()
