"""The contract of metrics: a sound one passes, and every flaw is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import BaseModel

from mmadapt.contracts import Metric, MetricResult
from mmadapt.errors import DataError
from mmadapt.testing import MetricContract
from tests.core.testing.flaws import names_of, verdict


class NoOptions(BaseModel):
    pass


class Sound(Metric):
    """Share of answers that are a reference."""

    Config = NoOptions

    def __init__(self, config):
        super().__init__(config)
        self.hits = []

    def update(self, sample, answer):
        if not sample.get("references"):
            raise DataError("metric", sample["id"], "has no references")
        self.hits.append(float(answer in sample["references"]))

    def compute(self):
        if not self.hits:
            raise DataError("metric", None, "nothing to score")
        return MetricResult(
            {"share": sum(self.hits) / len(self.hits)}, self.hits, self.described(rule="in")
        )


class TestSound(MetricContract):
    metric = Sound


class Result(Sound):
    def changed(self, values, per_sample, settings):
        raise AssertionError

    def compute(self):
        result = super().compute()
        return MetricResult(*self.changed(result.values, result.per_sample, result.settings))


class Halved(Result):
    def changed(self, values, per_sample, settings):
        return {"share": values["share"] / 2}, per_sample, settings


class Kind(Result):
    def changed(self, values, per_sample, settings):
        return {"share": 1.0}, per_sample, settings


class Summary(Result):
    def changed(self, values, per_sample, settings):
        return values, per_sample[:1], settings


class Shuffled(Result):
    def changed(self, values, per_sample, settings):
        return values, per_sample[::-1], settings


class First(Result):
    def changed(self, values, per_sample, settings):
        return {"share": per_sample[0]}, per_sample, settings


class Root(Result):
    def changed(self, values, per_sample, settings):
        return {"share": values["share"] ** 0.5}, per_sample, settings


class Drawn(Sound):
    def compute(self):
        result = super().compute()
        return replace(result, draw=lambda places: {"share": self.hits[places[0]]})


class Unversioned(Result):
    def changed(self, values, per_sample, settings):
        return values, per_sample, {}


class Tuples(Result):
    def changed(self, values, per_sample, settings):
        return values, per_sample, settings | {"n": (1, 2)}


class Zero(Sound):
    def compute(self):
        return super().compute() if self.hits else MetricResult({"share": 0.0}, [])


class Lenient(Sound):
    def update(self, sample, answer):
        super().update({"references": [""], **sample}, answer)


class Greedy(Sound):
    def update(self, sample, answer):
        sample["references"].append(answer)
        super().update({**sample, "references": sample["references"][:1]}, answer)


class Shared(Sound):
    kept: list[float] = []

    def update(self, sample, answer):
        super().update(sample, answer)
        self.kept.append(self.hits[-1])

    def compute(self):
        result = super().compute()
        return MetricResult({"share": sum(self.kept)}, result.per_sample)


FLAWS = [
    (Halved, "perfect_answers_score_the_best", "perfect answers score 0.5 in share"),
    (Kind, "wrong_answers_score_less", "scores 1.0; the best is 1.0"),
    (Summary, "one_score_for_each_sample_in_order", "1 scores for 4 samples"),
    (Shuffled, "one_score_for_each_sample_in_order", "another's"),
    (First, "order_does_not_matter", "share is 1.0 in one order and 0.0 in the other"),
    (Root, "the_value_can_be_drawn_again", "the mean of the samples' scores is 0.5"),
    (Drawn, "the_value_can_be_drawn_again", "`draw` gives"),
    (Unversioned, "settings_name_the_version", "settings must come from `described`"),
    (Tuples, "settings_are_json", "does not come back from JSON"),
    (Zero, "nothing_to_score_is_an_error", "DID NOT RAISE"),
    (Lenient, "a_sample_without_references_names_itself", "DID NOT RAISE"),
    (Greedy, "samples_and_other_metrics_are_left_alone", "changes the samples"),
    (Shared, "samples_and_other_metrics_are_left_alone", "a second instance"),
]


@pytest.mark.parametrize(("metric", "test", "message"), FLAWS)
def test_a_flaw_is_told(metric, test, message, tmp_path):
    found = verdict(TestSound, f"test_{test}", tmp_path, metric=metric)
    assert found is not None, "the flaw passes"
    assert message in found


def test_every_test_of_the_contract_has_its_flaw():
    assert {f"test_{test}" for _, test, _ in FLAWS} == set(names_of(MetricContract))
