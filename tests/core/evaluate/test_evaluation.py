import pytest
import torch

from mmadapt.data.quarantine import Quarantine
from mmadapt.errors import DataError, MediaError
from mmadapt.evaluate import evaluate
from tests import world

METRICS = {"exact": world.Exact}
SHORT = {"generate": {"max_new_tokens": 8}, "description": None}


def source(cls=world.ColourSource, **options):
    return cls(world.ColourConfig(**options))


def answers(result):
    return [prediction["answer"] for prediction in result.predictions]


def test_every_sample_is_answered_and_scored(model):
    result = evaluate(model, source(), METRICS, generate={"max_new_tokens": 3}, description=None)
    assert [p["id"] for p in result.predictions] == [f"s{i}" for i in range(24)]
    right = [p["answer"] == p["references"][0] for p in result.predictions]
    assert result.metrics == {"Exact": sum(right) / 24}
    assert [p["scores"] for p in result.predictions] == [{"exact": float(hit)} for hit in right]
    assert result.settings["samples"] == 24 and result.settings["failed"] == 0
    assert result.settings["generate"] == {"max_new_tokens": 3}
    assert (result.settings["head"], result.settings["prompt"]) == ("PlainHead", "say")
    mean = result.settings["metrics"]["exact"]["per_sample_mean"]
    assert mean["low"] <= mean["mean"] == sum(right) / 24 <= mean["high"]
    assert len(set(answers(result))) > 1


@pytest.mark.parametrize("head", [world.PlainHead, world.ChoosingHead])
def test_the_batch_size_changes_nothing(model, monkeypatch, head):
    monkeypatch.setattr(model, "head", head(None))
    options = {"generate": {"max_new_tokens": 24}, "description": None}
    given = [
        answers(evaluate(model, source(world.LongPrompts), METRICS, batch_size=size, **options))
        for size in (1, 5, 24)
    ]
    assert given[0] == given[1] == given[2]
    assert len(set(given[0])) > 1


def test_sampled_answers_depend_on_the_seed_and_on_nothing_else(model):
    def sampled(seed, size, limit=None):
        options = {"do_sample": True, "temperature": 2.0, "max_new_tokens": 3}
        torch.manual_seed(size)
        result = evaluate(
            model,
            source(world.LongPrompts),
            METRICS,
            batch_size=size,
            generate=options,
            seed=seed,
            description=None,
        )
        return answers(result)

    state = torch.get_rng_state()
    first = sampled(0, 1)
    assert first == sampled(0, 7) == sampled(0, 24) != sampled(1, 7)
    torch.set_rng_state(state)


def test_blind_rows_change_the_media_and_nothing_else(model):
    seen = {}
    for media in ("as_is", "removed", "swapped", "blank"):
        world.CALLS.clear()
        result = evaluate(model, source(), METRICS, media=media, **SHORT)
        seen[media] = answers(result)
        assert [p["references"] for p in result.predictions] == [
            [world.COLOURS[i % 4]] for i in range(24)
        ]
        assert result.settings["media"] == media
        assert bool(world.CALLS) is (media != "removed")
    assert len(set(seen["removed"])) == len(set(seen["blank"])) == 1
    assert seen["as_is"] != seen["swapped"]


def test_swapped_answers_are_those_of_the_other_media(model):
    by_colour = dict(
        zip(
            [i % 4 for i in range(24)],
            answers(evaluate(model, source(), METRICS, description=None)),
            strict=False,
        )
    )
    result = evaluate(model, source(), METRICS, media="swapped", seed=5, description=None)
    from mmadapt.data.views import SwappedMedia

    partner = SwappedMedia(source(), 5).partner
    assert answers(result) == [by_colour[other % 4] for other in partner]


def test_unreadable_samples_are_counted_named_and_not_scored(model):
    for size in (1, 4):
        result = evaluate(model, source(bad=[1, 6]), METRICS, batch_size=size, **SHORT)
        assert [failure["id"] for failure in result.failed] == ["s1", "s6"]
        assert "bad/6" in result.failed[1]["reason"]
        assert result.settings["samples"] == 22 and len(result.predictions) == 22


def test_a_tolerated_file_is_tolerated_as_the_media_of_others_too(model):
    """In the swapped row the bad file of one sample is that of two."""
    for media, lost in (("as_is", 1), ("swapped", 2)):
        watch = Quarantine(max_bad_share=0.5).watch("test", 3)
        options = {"media": media, "watch": watch, "description": None}
        assert len(evaluate(model, source(count=3, bad=[2]), METRICS, **options).failed) == lost


def test_where_nothing_can_be_read_the_reason_is_told(model):
    with pytest.raises(MediaError, match="bad/0"):
        evaluate(model, source(count=2, bad=[0, 1]), METRICS, description=None)
    with pytest.raises(DataError, match="no samples"):
        evaluate(model, source(count=0), METRICS, description=None)


def test_a_limit_takes_a_fixed_random_subset(model):
    ids = [
        [
            p["id"]
            for p in evaluate(
                model, source(), METRICS, limit=6, seed=s, description=None
            ).predictions
        ]
        for s in (0, 0, 1)
    ]
    assert ids[0] == ids[1] != ids[2] and len(ids[0]) == 6


def test_training_mode_is_given_back(model):
    model.train()
    evaluate(model, source(count=2), METRICS, description=None)
    assert model.training
    model.eval()
