"""Caption metrics: the scorers of the COCO caption tools."""

from __future__ import annotations

import math
from abc import abstractmethod
from importlib.metadata import version
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
from mmadapt.contracts.metric import Draw
from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_caption import java
from mmadapt_caption.references import references_of
from mmadapt_caption.tokenizers import Tokenizer, described, tokenize_all
from mmadapt_caption.tokens import tokenize


class CaptionMetricConfig(BaseModel):
    """Options of a caption metric; the tools that it follows fix everything else.

    Args:
        tokenizer: `builtin` splits captions nearly as the tools do, without Java; `ptb` is the
            tools' own Stanford PTBTokenizer (`pip install 'mmadapt[java]'`).
    """

    model_config = ConfigDict(extra="forbid")
    tokenizer: Tokenizer = "builtin"


class CaptionMetric(Metric):
    """Collects answers and references, splits them into tokens; subclasses score those.

    Raises:
        MissingDependency: it needs a Java, and there is none.
    """

    Config = CaptionMetricConfig
    config: CaptionMetricConfig
    needs_java: ClassVar[str] = ""  # what for, where the metric itself is a Java program

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if self.needs_java or config.tokenizer == "ptb":
            java.java(self.needs_java or "the tokenizer 'ptb'")
        self.texts: list[str] = []
        self.groups: list[list[str]] = []
        self.answers: list[str] = []
        self.references: list[list[str]] = []

    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer.

        Raises:
            DataError: the sample has no reference, or none that holds a word.
        """
        references = references_of(sample)
        if not any(map(tokenize, references)):
            raise DataError("metric", sample["id"], "has references without a single word")
        self.groups.append(references)
        self.texts.append(answer)

    def compute(self) -> MetricResult:
        """Scores all answers; see the class for what the values are.

        Raises:
            DataError: there is no answer.
        """
        if not self.texts:
            raise DataError("metric", None, "there is no answer to score")
        self._tokenize()
        values, per_sample, settings = self.score()
        settings = {"tool": f"pycocoevalcap {version('pycocoevalcap')}", **settings}
        used = self.described(**settings | {"tokenizer": described(self.config.tokenizer)})
        return MetricResult(values, [float(score) for score in per_sample], used, self.draw())

    @abstractmethod
    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns the values, one score per sample, and further settings."""

    def draw(self) -> Draw | None:
        """Values of a draw of samples, where they are not the mean of the samples' own."""
        return None

    def _tokenize(self) -> None:
        """Fills `answers` and `references` with tokens, one call of the tokenizer for all."""
        flat = tokenize_all([*self.texts, *chain(*self.groups)], self.config.tokenizer)
        rest = iter(flat)
        self.answers = list(islice(rest, len(self.texts)))
        self.references = [list(islice(rest, len(group))) for group in self.groups]

    def _columns(self) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """References and answers as the COCO tools take them."""
        return dict(enumerate(self.references)), {i: [a] for i, a in enumerate(self.answers)}


class Cider(CaptionMetric):
    """CIDEr-D (Vedantam et al. 2015, section 5) with n from 1 to 4 and sigma 6; 10 at best.

    Papers print 100 times this value (130.1 for 1.301). Document frequencies come from the
    references that are scored, as in the tools: with one sample, or where all samples have the
    same references, every idf is 0 and so is CIDEr, whatever the answers. A caption of fewer than
    four words cannot reach 10, because it has no 4-grams. In a bootstrap the document frequencies
    stay those of the whole set, so that a draw's value is the mean of its samples' scores.
    """

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `cider`; the score of a sample is its own CIDEr-D."""
        from pycocoevalcap.cider.cider import Cider as Scorer

        value, per_sample = Scorer().compute_score(*self._columns())
        settings: dict[str, Any] = {"variant": "CIDEr-D", "n": 4, "sigma": 6.0}
        settings["document_frequencies"] = f"references of these {len(self.texts)} samples"
        if len({tuple(sorted(set(group))) for group in self.references}) < 2:
            settings["note"] = "0 by definition: CIDEr needs samples with different references"
        return {"cider": float(value)}, list(per_sample), settings


class Bleu(CaptionMetric):
    """BLEU-1 to BLEU-4 over the corpus, brevity penalty against the closest reference length."""

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `bleu_1` to `bleu_4`; the score of a sample is its own BLEU-4."""
        scorer = self._scorer()
        corpus, per_sample = scorer.compute_score(option="closest", verbose=0)
        values = {f"bleu_{n}": float(value) for n, value in enumerate(corpus, start=1)}
        settings = {"n": 4, "reference_length": "closest", "aggregation": "corpus"}
        return values, list(per_sample[3]), settings

    def draw(self) -> Draw:
        """BLEU of the summed counts of a draw."""
        counts = np.array([_counts(own) for own in self._scorer().ctest], dtype=float)
        return lambda places: _bleu(counts[places].sum(axis=0))

    def _scorer(self) -> Any:
        from pycocoevalcap.bleu.bleu_scorer import BleuScorer

        scorer = BleuScorer(n=4)
        for answer, references in zip(self.answers, self.references, strict=True):
            scorer += (answer, references)
        return scorer


class RougeL(CaptionMetric):
    """ROUGE-L (longest common subsequence) with the tools' beta of 1.2 over the best references."""

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `rouge_l`, the mean over samples."""
        from pycocoevalcap.rouge.rouge import Rouge

        value, per_sample = Rouge().compute_score(*self._columns())
        return {"rouge_l": float(value)}, list(per_sample), {"beta": 1.2}


def _counts(own: dict[str, Any]) -> list[float]:
    """Of one sample: matching n-grams for n from 1 to 4, all of them, length, that aimed at."""
    length = own["testlen"]
    closest = min((abs(other - length), other) for other in own["reflen"])[1]
    return [*own["correct"], *own["guess"], length, closest]


def _bleu(counts: np.ndarray) -> dict[str, float]:
    """BLEU from counts (10,), with the tools' tiny constants against division by zero."""
    correct, guess, (length, aim) = counts[:4], counts[4:8], counts[8:]
    ratio = (length + 1e-15) / (aim + 1e-9)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    products = np.cumprod((correct + 1e-15) / (guess + 1e-9))
    return {f"bleu_{n}": float(products[n - 1] ** (1 / n)) * penalty for n in range(1, 5)}
