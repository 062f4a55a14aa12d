"""Caption metrics: the scorers of the COCO caption tools, fed with the tokens of `tokens.py`."""

from __future__ import annotations

from abc import abstractmethod
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_caption import tokens


class NoOptions(BaseModel):
    """These metrics take no options: the tools they follow fix everything."""

    model_config = ConfigDict(extra="forbid")


def references_of(sample: Sample) -> list[str]:
    """The texts to score against: references, else answers, else the target.

    Raises:
        DataError: the sample has neither.
    """
    target = sample.get("target")
    given = sample.get("references") or sample.get("answers")
    references = given or ([target] if target else [])
    if not references:
        raise DataError("metric", sample["id"], "has no reference to score against")
    return list(references)


class CaptionMetric(Metric):
    """Collects tokenised answers and references; subclasses score them in one go."""

    Config = NoOptions

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.answers: list[str] = []
        self.references: list[list[str]] = []

    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer."""
        references = [" ".join(tokens.tokenize(text)) for text in references_of(sample)]
        if not any(references):
            raise DataError("metric", sample["id"], "has references without a single word")
        self.answers.append(" ".join(tokens.tokenize(answer)))
        self.references.append(references)

    def compute(self) -> MetricResult:
        """Scores all answers; see the class for what the values are."""
        if not self.answers:
            raise DataError("metric", None, "there is no answer to score")
        values, per_sample, settings = self.score()
        used = {"tokenizer": tokens.NAME, "pycocoevalcap": version("pycocoevalcap")}
        return MetricResult(values, [float(score) for score in per_sample], used | settings)

    @abstractmethod
    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns the values, one score per sample, and further settings."""

    def _columns(self) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """References and answers as the COCO tools take them."""
        return dict(enumerate(self.references)), {i: [a] for i, a in enumerate(self.answers)}


class Cider(CaptionMetric):
    """CIDEr-D (Vedantam et al. 2015, section 5) with n from 1 to 4 and sigma 6; 10 at best.

    Papers print 100 times this value (130.1 for 1.301). Document frequencies come from the
    references that are scored, as in the tools: with one sample, or where all samples have the
    same references, every idf is 0 and so is CIDEr, whatever the answers. A caption of fewer than
    four words cannot reach 10, because it has no 4-grams.
    """

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `cider`; the score of a sample is its own CIDEr-D."""
        from pycocoevalcap.cider.cider import Cider as Scorer

        value, per_sample = Scorer().compute_score(*self._columns())
        settings: dict[str, Any] = {"variant": "CIDEr-D", "n": 4, "sigma": 6.0}
        if len({tuple(sorted(set(group))) for group in self.references}) < 2:
            settings["note"] = "0 by definition: CIDEr needs samples with different references"
        return {"cider": float(value)}, list(per_sample), settings


class Bleu(CaptionMetric):
    """BLEU-1 to BLEU-4 over the corpus, brevity penalty against the closest reference length."""

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `bleu_1` to `bleu_4`; the score of a sample is its own BLEU-4."""
        from pycocoevalcap.bleu.bleu import Bleu as Scorer

        corpus, per_sample = Scorer(4).compute_score(*self._columns(), verbose=0)
        values = {f"bleu_{n}": float(value) for n, value in enumerate(corpus, start=1)}
        return values, list(per_sample[3]), {"reference_length": "closest"}


class RougeL(CaptionMetric):
    """ROUGE-L (longest common subsequence) with the tools' beta of 1.2 over the best references."""

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `rouge_l`, the mean over samples."""
        from pycocoevalcap.rouge.rouge import Rouge

        value, per_sample = Rouge().compute_score(*self._columns())
        return {"rouge_l": float(value)}, list(per_sample), {"beta": 1.2}


class ExactMatch(CaptionMetric):
    """Share of answers with the same tokens as a reference, whatever case and punctuation."""

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `exact_match`, 0 to 1."""
        hits = [
            float(answer in references)
            for answer, references in zip(self.answers, self.references, strict=True)
        ]
        return {"exact_match": sum(hits) / len(hits)}, hits, {}
