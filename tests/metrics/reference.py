"""The same scores by the reference tools, called as their users call them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from importlib.util import find_spec

from mmadapt.errors import MissingDependency
from mmadapt_caption.java import java
from mmadapt_caption.metrics import CaptionMetricConfig
from mmadapt_caption.tokenizers import tokenize_all

Pairs = list[tuple[str, list[str]]]
Scores = tuple[dict[str, float], list[float]]  # values by name, one score per sample


def has_java() -> bool:
    """Whether there is a Java for METEOR and the tools' tokenizer."""
    try:
        return bool(java("this"))
    except MissingDependency:
        return False


def ours(cls: type, pairs: Pairs, tokenizer: str = "builtin") -> Scores:
    """The scores of a shipped metric."""
    metric = cls(CaptionMetricConfig(tokenizer=tokenizer))
    for number, (answer, references) in enumerate(pairs):
        metric.update({"id": str(number), "references": references}, answer)
    result = metric.compute()
    return result.values, result.per_sample


def split(pairs: Pairs, tokenizer: str = "builtin") -> Pairs:
    """Pairs as tokens with one space between."""
    texts = [text for answer, references in pairs for text in (answer, *references)]
    rest = iter(tokenize_all(texts, tokenizer))
    return [(next(rest), [next(rest) for _ in references]) for _, references in pairs]


def split_by_tool(pairs: Pairs) -> Pairs:
    """Pairs as the tools' own wrapper of their tokenizer splits them (`java` on the PATH)."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = {i: [{"caption": t} for t in (a, *refs)] for i, (a, refs) in enumerate(pairs)}
    found = PTBTokenizer().tokenize(texts)
    return [(found[i][0], found[i][1:]) for i in range(len(pairs))]


def tool(name: str, tokens: Pairs) -> Scores:
    """The scores that pycocoevalcap gives pairs of tokens.

    Args:
        name: `cider`, `bleu`, `rouge_l` or `meteor`.
        tokens: pairs as tokens.
    """
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = {"cider": Cider, "bleu": Bleu, "rouge_l": Rouge, "meteor": Meteor}[name]()
    references = {i: group for i, (_, group) in enumerate(tokens)}
    answers = {i: [answer] for i, (answer, _) in enumerate(tokens)}
    with contextlib.redirect_stdout(io.StringIO()):
        value, per_sample = scorer.compute_score(references, answers)
    if name == "bleu":
        values = {f"bleu_{n}": float(score) for n, score in enumerate(value, start=1)}
        return values, list(per_sample[3])
    return {name: float(value)}, [float(score) for score in per_sample]


def second_tool(name: str, tokens: Pairs) -> Scores | None:
    """The scores of aac-metrics, another implementation of the same; None without it."""
    if find_spec("aac_metrics") is None or name == "meteor":
        return None
    from aac_metrics import functional

    answers, references = [answer for answer, _ in tokens], [group for _, group in tokens]
    if name == "bleu":
        scores = [functional.bleu(answers, references, n=n) for n in range(1, 5)]
        values = {f"bleu_{n}": float(s[0][f"bleu_{n}"]) for n, s in enumerate(scores, start=1)}
        return values, scores[3][1]["bleu_4"].tolist()
    call: Callable = {"cider": functional.cider_d, "rouge_l": functional.rouge_l}[name]
    key = {"cider": "cider_d", "rouge_l": "rouge_l"}[name]
    corpus, single = call(answers, references)[:2]
    return {name: float(corpus[key])}, single[key].tolist()
