"""The tables of the parity page: each is a function that scores and says what it found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from mmadapt.evaluate.statistics import interval
from mmadapt_caption.meteor import Meteor
from mmadapt_caption.metrics import Bleu, Cider, RougeL
from mmadapt_classify.metrics import Accuracy, AccuracyConfig, MacroF1, NoOptions
from mmadapt_vqa.exact_match import ExactMatch, ExactMatchConfig
from mmadapt_vqa.metric import agreement
from mmadapt_vqa.normalise import normalise
from tests.metrics import captions, vqa_rule
from tests.metrics.reference import (
    Pairs,
    Scores,
    has_java,
    ours,
    second_tool,
    split,
    split_by_tool,
    tool,
)

METRICS = {"cider": Cider, "bleu": Bleu, "rouge_l": RougeL}
LIMIT = 1e-6
Row = Sequence[str]


def metrics() -> dict[str, type]:
    """The caption metrics that run here: METEOR only where there is a Java."""
    return METRICS | ({"meteor": Meteor} if has_java() else {})


def farthest(one: Scores, other: Scores) -> float:
    """The largest difference of any value or any sample's score."""
    values = [abs(one[0][name] - other[0][name]) for name in one[0]]
    singles = [abs(a - b) for a, b in zip(one[1], other[1], strict=True)]
    return max([*values, *singles])


def same_tokens(pairs: Pairs) -> tuple[list[Row], float]:
    """Ours against the reference tools on the same tokens; rows, and the largest difference."""
    tokens, rows, worst = split(pairs), [], 0.0
    for name, cls in metrics().items():
        found = ours(cls, pairs)
        gaps = [farthest(found, tool(name, tokens))]
        other = second_tool(name, tokens)
        if other is not None:
            gaps.append(farthest(found, other))
        worst = max(worst, *gaps)
        told = [f"{gap:.1e}" for gap in gaps] + ["not there"] * (2 - len(gaps))
        rows.append([f"`{name}`", f"{list(found[0].values())[-1]:.4f}", *told])
    return rows, worst


def whole_pipeline(pairs: Pairs) -> tuple[list[Row], float]:
    """`tokenizer: ptb` on raw text against the reference tools from tokenizer to score."""
    tokens, rows, worst = split_by_tool(pairs), [], 0.0
    for name, cls in metrics().items():
        found = ours(cls, pairs, "ptb")
        gap = farthest(found, tool(name, tokens))
        worst = max(worst, gap)
        rows.append([f"`{name}`", f"{list(found[0].values())[-1]:.4f}", f"{gap:.1e}"])
    return rows, worst


def other_tokens(count: int, seed: int) -> list[Row]:
    """What the built-in tokenizer changes, on captions as they are and as hard as they get."""
    rows: list[Row] = []
    for hardness in ("easy", "hard", "mixed"):
        pairs = captions.pairs(count, seed, hardness)
        mine, theirs = (
            [text for answer, group in split(pairs, name) for text in (answer, *group)]
            for name in ("builtin", "ptb")
        )
        differ = sum(a != b for a, b in zip(mine, theirs, strict=True))
        share = f"{differ} of {len(mine)}"
        for cls in metrics().values():
            one, other = (ours(cls, pairs, own)[0] for own in ("builtin", "ptb"))
            key = list(one)[-1]
            gap = 100 * (one[key] - other[key])
            scores = f"{100 * one[key]:.2f}", f"{100 * other[key]:.2f}", f"{gap:+.2f}"
            rows.append([hardness, share, f"`{key}`", *scores])
            share = ""
    return rows


def vqa(count: int, seed: int) -> tuple[list[Row], float]:
    """VQA's accuracy and normaliser against the second writing of the rule."""
    cases = vqa_rule.cases(count, seed)
    texts = [text for answer, people in cases for text in (answer, *people)]
    others = sum(normalise(text) != vqa_rule.reduced(text) for text in texts)
    gap = max(
        abs(agreement(a, people) - float(vqa_rule.accuracy(a, people))) for a, people in cases
    )
    hits = _exact(cases)
    wanted = [
        float(vqa_rule.reduced(answer) in [vqa_rule.reduced(text) for text in people])
        for answer, people in cases
    ]
    unequal = sum(a != b for a, b in zip(hits, wanted, strict=True))
    rows = [
        ["`normalise`", f"{len(texts)} answers", f"{others} differ"],
        ["`vqa_accuracy`", f"{count} questions, ten people each", f"{gap:.1e}"],
        ["`exact_match` with `normaliser: vqa`", f"{count} questions", f"{unequal} differ"],
    ]
    return rows, max(gap, float(others + unequal))


def closed(count: int, seed: int) -> tuple[list[Row], float]:
    """Accuracy and macro F1 against scikit-learn; no rows without it."""
    if find_spec("sklearn") is None:
        return [], 0.0
    from sklearn.metrics import accuracy_score, f1_score

    rng = random.Random(seed)
    classes = [f"class {n}" for n in range(12)]
    right = [rng.choice(classes[:9]) for _ in range(count)]
    answers = [own if rng.random() < 0.6 else rng.choice(classes) for own in right]
    mine = []
    for metric in (Accuracy(AccuracyConfig()), MacroF1(NoOptions())):
        for number, (answer, own) in enumerate(zip(answers, right, strict=True)):
            metric.update({"id": str(number), "answers": [own]}, answer)
        mine.append(list(metric.compute().values.values())[-1])
    theirs = [accuracy_score(right, answers), f1_score(right, answers, average="macro")]
    gaps = [abs(a - b) for a, b in zip(mine, theirs, strict=True)]
    names = ("`accuracy`", "`macro_f1`")
    rows = [
        [name, f"{value:.4f}", f"{gap:.1e}"]
        for name, value, gap in zip(names, mine, gaps, strict=True)
    ]
    return rows, max(gaps)


def cider_intervals(pairs: Pairs, draws: int, seed: int) -> list[Row]:
    """CIDEr-D's 95 % interval with document frequencies of the whole set, and with the draw's."""
    values, per_sample = ours(Cider, pairs)
    kept = interval([per_sample], seed)
    rng, tokens = np.random.default_rng(seed), split(pairs)
    anew = [
        tool("cider", [tokens[place] for place in rng.integers(len(pairs), size=len(pairs))])[0]
        for _ in range(draws)
    ]
    low, high = np.quantile([found["cider"] for found in anew], [0.025, 0.975])
    mean = np.mean([found["cider"] for found in anew])
    return [
        [
            "of the whole set (shipped)",
            f"{values['cider']:.3f}",
            f"{kept.low:.3f}, {kept.high:.3f}",
        ],
        ["of each draw", f"{mean:.3f}", f"{low:.3f}, {high:.3f}"],
    ]


def _exact(cases: Pairs) -> list[float]:
    metric = ExactMatch(ExactMatchConfig(normaliser="vqa"))
    for number, (answer, people) in enumerate(cases):
        metric.update({"id": str(number), "answers": people}, answer)
    return metric.compute().per_sample
