"""The contract of a metric, as a test class to inherit."""

from __future__ import annotations

import copy
import json
import math
from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from pydantic import BaseModel

from mmadapt.contracts import Metric, MetricResult
from mmadapt.errors import DataError
from mmadapt.types import Sample

TEXTS = (
    "a red ball rolls over the grass",
    "two dogs run along a sandy beach",
    "a man plays the guitar on stage",
    "heavy rain falls on a tin roof",
)


class MetricContract(ABC):
    """Every promise of a metric, tested on a few samples.

    Attributes:
        metric: the class.
        best: what perfect answers score, as a whole and each.
        is_lower_better: whether a lower value is the better one.
        keeps_order: whether the values may depend on the order of the samples.

    Example:
        class TestMyMetric(MetricContract):
            metric = MyMetric
    """

    metric: ClassVar[type[Metric]]
    best: float = 1.0
    is_lower_better: bool = False
    keeps_order: bool = False

    def config(self) -> BaseModel:
        """The metric's options; its defaults unless overridden."""
        return self.metric.Config()

    def samples(self) -> list[Sample]:
        """Samples with a target, references and the answers of ten people."""
        return [
            {
                "id": f"s{i}",
                "prompt": "what is there?",
                "target": text,
                "references": [text],
                "answers": [text] * 10,
                "media": [],
            }
            for i, text in enumerate(TEXTS)
        ]

    def perfect(self, sample: Sample) -> str:
        """An answer that cannot be better."""
        return str(sample["target"])

    def wrong(self, sample: Sample) -> str:
        """An answer that is simply wrong."""
        return "nothing of all this"

    def scored(self, samples: Sequence[Sample], answers: Sequence[str]) -> MetricResult:
        """The result of one answer to each sample."""
        metric = self.metric(self.config())
        for sample, answer in zip(samples, answers, strict=True):
            metric.update(sample, answer)
        return metric.compute()

    def mixed(self) -> tuple[list[Sample], list[str]]:
        """Samples with perfect and wrong answers in turns."""
        samples = self.samples()
        answers = [(self.perfect, self.wrong)[i % 2](sample) for i, sample in enumerate(samples)]
        return samples, answers

    def test_perfect_answers_score_the_best(self) -> None:
        """Each value, and each sample's score, is `best`."""
        samples = self.samples()
        result = self.scored(samples, [self.perfect(sample) for sample in samples])
        for name, value in [*result.values.items(), *enumerate(result.per_sample)]:
            assert math.isclose(value, self.best, rel_tol=1e-4, abs_tol=1e-6), (
                f"perfect answers score {value} in {name}, not {self.best}; set `best` if that is "
                "the metric's maximum"
            )

    def test_wrong_answers_score_less(self) -> None:
        """In every value and every sample; an empty answer is an answer, too."""
        samples = self.samples()
        for answer in [self.wrong(samples[0]), ""]:
            result = self.scored(samples, [answer] * len(samples))
            for value in [*result.values.values(), *result.per_sample]:
                is_worse = value > self.best if self.is_lower_better else value < self.best
                assert is_worse, f"the answer {answer!r} scores {value}; the best is {self.best}"

    def test_one_score_for_each_sample_in_order(self) -> None:
        """`per_sample` has plain finite numbers, one for each update, in the order of updates."""
        samples, answers = self.mixed()
        result = self.scored(samples, answers)
        assert len(result.per_sample) == len(samples), (
            f"{len(result.per_sample)} scores for {len(samples)} samples; `predictions.jsonl` "
            "writes one beside each answer"
        )
        numbers: list[Any] = [*result.values.values(), *result.per_sample]
        assert all(type(number) is float and math.isfinite(number) for number in numbers), (
            f"values must be finite Python floats, which JSON can hold: {numbers}"
        )
        assert result.values, "a metric gives at least one value"
        for i, score in enumerate(result.per_sample):
            is_best = math.isclose(score, self.best, rel_tol=1e-4)
            assert is_best == (i % 2 == 0), f"the score of answer {i} is {score}: another's?"

    def test_order_does_not_matter(self) -> None:
        """Shards of a distributed evaluation are put together in any order."""
        if self.keeps_order:
            pytest.skip("this metric says that it reads the order of samples")
        samples, answers = self.mixed()
        forth = self.scored(samples, answers)
        back = self.scored(samples[::-1], answers[::-1])
        for name, value in forth.values.items():
            assert math.isclose(value, back.values[name], rel_tol=1e-9, abs_tol=1e-12), (
                f"{name} is {value} in one order and {back.values[name]} in the other"
            )
        assert back.per_sample[::-1] == pytest.approx(forth.per_sample)

    def test_the_value_can_be_drawn_again(self) -> None:
        """Intervals draw samples: by `draw`, or by their scores, whose mean the value then is."""
        samples, answers = self.mixed()
        result = self.scored(samples, answers)
        every = np.arange(len(samples))
        if result.draw is None:
            name, value = list(result.values.items())[-1]
            mean = sum(result.per_sample) / len(result.per_sample)
            assert math.isclose(value, mean, rel_tol=1e-6, abs_tol=1e-9), (
                f"{name} is {value}, the mean of the samples' scores is {mean}: give MetricResult "
                "a `draw`, or an interval cannot be told"
            )
            return
        places = np.concatenate([every, every[:1]])
        again = self.scored([samples[i] for i in places], [answers[i] for i in places])
        for drawn, wanted in [(every, result.values), (places, again.values)]:
            found = result.draw(drawn)
            assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6), (
                f"`draw` gives {found} for samples that score {wanted}"
            )

    def test_settings_name_the_version(self) -> None:
        """So that a number is not mixed up with one of another version of the metric."""
        settings = self.scored(*self.mixed()).settings
        assert settings.get("version") == self.metric.version, (
            f"settings must come from `described`, which names the version: {settings}"
        )

    def test_settings_are_json(self) -> None:
        """They are written to `metrics.json` so that a number can be repeated."""
        result = self.scored(*self.mixed())
        for part in (result.values, result.settings):
            text = json.dumps(part, allow_nan=False)
            assert json.loads(text) == part, f"{part} does not come back from JSON as it was"

    def test_nothing_to_score_is_an_error(self) -> None:
        """Not 0, not NaN: a DataError."""
        with pytest.raises(DataError):
            self.metric(self.config()).compute()

    def test_a_sample_without_references_names_itself(self) -> None:
        """It cannot be scored; the DataError says which it is."""
        bare = cast(Sample, {"id": "the bare one", "prompt": "what?", "media": []})
        with pytest.raises(DataError, match="the bare one"):
            self.scored([bare], ["an answer"])

    def test_samples_and_other_metrics_are_left_alone(self) -> None:
        """A metric changes no sample and shares nothing with another instance."""
        samples, answers = self.mixed()
        before = copy.deepcopy(samples)
        first, second = self.scored(samples, answers), self.scored(samples, answers)
        assert samples == before, "the metric changes the samples that it is given"
        assert first == second, "a second instance scores the same answers otherwise"
