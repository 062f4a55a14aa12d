"""The same answers for any batch size, and what is done where rounding could decide."""

import math

import pytest
import torch

from mmadapt.evaluate import evaluate
from mmadapt.evaluate.answering import Answering
from mmadapt.generation.margins import GreedyMargins, generation_mode, is_greedy, rounding
from tests import world

METRICS = {"exact": world.Exact}


def source(**options):
    return world.LongPrompts(world.ColourConfig(**options))


def answers(result):
    return [prediction["answer"] for prediction in result.predictions]


def test_margins_count_up_to_the_first_stop():
    watch = GreedyMargins()
    for scores in ([[5.0, 1.0, 0.0]] * 2, [[0.0, 3.0, 2.9]] * 2, [[1.0, 1.0, 0.0]] * 2):
        watch(torch.zeros(2, 1, dtype=torch.long), torch.tensor(scores))
    ids = torch.tensor([[0, 1, 0], [0, 2, 9]])
    assert watch.smallest(ids, stops=2) == pytest.approx([0.0, 0.1], abs=1e-6)
    assert watch.smallest(ids, stops=[0]) == pytest.approx([4.0, 4.0])
    assert watch.smallest(ids, stops=None) == pytest.approx([0.0, 0.0], abs=1e-6)
    assert GreedyMargins().smallest(ids, None) == [math.inf, math.inf]


def test_what_is_greedy(model):
    assert is_greedy(model.lm, {}) and is_greedy(model.lm, {"max_new_tokens": 3, "num_beams": 1})
    assert generation_mode(model.lm, {"num_beams": 3}) == "beam_search"
    assert generation_mode(model.lm, {"do_sample": True}) == "sample"


def test_coarser_numbers_need_wider_margins(model):
    assert rounding(model) == 1e-3
    assert (
        rounding(torch.nn.Linear(2, 2).bfloat16()) > rounding(torch.nn.Linear(2, 2).half()) > 1e-3
    )
    quantized = torch.nn.Module()
    quantized.weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    assert rounding(quantized) >= 0.5


@pytest.mark.parametrize("head", [world.PlainHead, world.ChoosingHead])
def test_answers_that_hang_on_rounding_are_decided_alone(model, monkeypatch, head):
    """Rounding errors made large: a bias that depends on the number of rows in the batch."""
    monkeypatch.setattr(model, "head", head(None))
    output = model.lm.get_output_embeddings()
    noise = torch.randn(40, output.weight.shape[0], generator=torch.Generator().manual_seed(0))
    size = {"rows": 1}

    def shifted(_module, _inputs, logits):
        return logits + 0.2 * noise[size["rows"] % 40]

    encode, options = model.encode, {"generate": {"max_new_tokens": 16}, "description": None}

    def encoding(media):
        size["rows"] = len(next(iter(media.values()))["values"])
        return encode(media)

    monkeypatch.setattr(model, "encode", encoding)
    handle = output.register_forward_hook(shifted)
    try:
        plain = {
            rows: evaluate(model, source(), METRICS, batch_size=rows, exact=False, **options)
            for rows in (1, 3, 8)
        }
        assert len({tuple(answers(result)) for result in plain.values()}) > 1
        assert all(result.alone == 0 for result in plain.values())
        monkeypatch.setattr("mmadapt.evaluate.answering.rounding", lambda _: 3.0)
        exact = {
            rows: evaluate(model, source(), METRICS, batch_size=rows, **options)
            for rows in (1, 3, 8)
        }
    finally:
        handle.remove()
    assert answers(exact[1]) == answers(exact[3]) == answers(exact[8]) == answers(plain[1])
    assert exact[8].alone > 0 and exact[1].settings == exact[8].settings


def test_a_long_neighbour_does_not_shorten_an_answer(model, monkeypatch):
    """The default number of new tokens is what the longest prompt of a batch leaves room for."""
    taken = [4 + 3 * (index % 4) for index in range(8)]

    class Uneven(world.ColourSource):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "prompt": " ".join(["say"] * taken[index])}

    monkeypatch.setattr(model.lm.generation_config, "eos_token_id", 10**6)  # nothing ends early
    monkeypatch.setattr(model.lm.config, "max_position_embeddings", 32)
    monkeypatch.setattr(model.recipe.data, "max_length", None)
    data = Uneven(world.ColourConfig(count=8))
    one, eight = (
        answers(evaluate(model, data, METRICS, batch_size=n, description=None)) for n in (1, 8)
    )
    assert one == eight and len({len(text.split()) for text in one}) > 1
    rough = evaluate(model, data, METRICS, batch_size=8, exact=False, description=None)
    assert answers(rough) != one


def test_beams_are_searched_one_sample_at_a_time(model, monkeypatch):
    sizes = []
    computed = Answering._computed

    def counting(self, places, batch):
        sizes.append(len(places))
        return computed(self, places, batch)

    monkeypatch.setattr(Answering, "_computed", counting)
    options = {"num_beams": 2, "max_new_tokens": 3}
    one, eight = (
        answers(
            evaluate(model, source(), METRICS, batch_size=n, generate=options, description=None)
        )
        for n in (1, 8)
    )
    assert one == eight and set(sizes) == {1}
    sizes.clear()
    evaluate(
        model, source(), METRICS, batch_size=8, generate=options, exact=False, description=None
    )
    assert set(sizes) == {8}


def test_decoding_is_recorded_with_its_defaults(model, monkeypatch):
    result = evaluate(model, source(count=4), METRICS, description=None)
    told = result.settings["decoding"]
    assert told["method"] == "greedy_search" and told["max_new_tokens"] == 64
    assert told["eos_token_id"] == model.tokenizer.eos_token_id
    options = {"num_beams": 2, "max_new_tokens": 3}
    told = evaluate(
        model, source(count=4), METRICS, generate=options, description=None
    ).settings["decoding"]  # fmt: skip
    assert (told["method"], told["num_beams"], told["max_new_tokens"]) == ("beam_search", 2, 3)
    monkeypatch.setattr(model, "head", world.ChoosingHead(None))
    told = evaluate(model, source(count=4), METRICS, description=None).settings["decoding"]
    assert told == {"method": "likelihood of candidates", "score": "sum"}


def test_every_metric_records_version_samples_and_intervals(model):
    settings = evaluate(model, source(), METRICS, description=None).settings["metrics"]["exact"]
    assert settings["version"] == "1" and settings["samples"] == 24
    low, high = settings["interval"]["Exact"]
    mean = settings["per_sample_mean"]
    assert (low, high) == (mean["low"], mean["high"]) and low <= mean["mean"] <= high
