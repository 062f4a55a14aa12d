"""A seeded sample of what `parity.py` compares."""

import shutil

import pytest

from mmadapt_caption.metrics import Cider
from tests.metrics import captions, tables, vqa_rule
from tests.metrics.reference import has_java, ours, split, tool

PAIRS = captions.pairs(100, seed=1)
needs_java = pytest.mark.skipif(not has_java(), reason="no Java here: pip install 'mmadapt[java]'")


def test_the_pairs_hold_what_is_hard():
    texts = [text for answer, references in PAIRS for text in (answer, *references)]
    everything = " ".join(texts)
    assert all(piece in everything for piece in ["n't", "-", "é", "“", "3", "(", "!", "'s"])
    assert any(not answer.strip() for answer, _ in PAIRS)
    assert any(answer in references for answer, references in PAIRS)
    assert any(len(set(references)) < len(references) for _, references in PAIRS)
    assert {len(references) for _, references in PAIRS} >= {1, 2, 3, 4, 5}
    assert captions.pairs(100, seed=1) == PAIRS != captions.pairs(100, seed=2)


@pytest.mark.parametrize("name", tables.METRICS)
def test_the_same_tokens_score_the_same(name):
    found = ours(tables.METRICS[name], PAIRS)
    assert tables.farthest(found, tool(name, split(PAIRS))) <= tables.LIMIT
    assert 0.0 < list(found[0].values())[-1] < (10.0 if name == "cider" else 1.0)


def test_a_difference_would_be_seen():
    """Another order of the pairs changes each sample's score, one word changes the value."""
    found = ours(Cider, PAIRS)
    assert tables.farthest(found, (found[0], found[1][::-1])) > 1.0
    other = [("a dog", references) for _, references in PAIRS[:1]] + PAIRS[1:]
    assert tables.farthest(found, tool("cider", split(other))) > 1e-3


@needs_java
@pytest.mark.skipif(shutil.which("java") is None, reason="the tool takes Java from the PATH")
def test_from_raw_text_the_tools_own_tokenizer_scores_as_the_tool():
    from tests.metrics.reference import split_by_tool

    try:
        tokens = split_by_tool(PAIRS)
    except OSError as error:
        pytest.skip(f"the tool cannot write its scratch file: {error}")
    for name, cls in tables.METRICS.items():
        assert tables.farthest(ours(cls, PAIRS, "ptb"), tool(name, tokens)) <= tables.LIMIT


@needs_java
def test_ordinary_captions_are_split_as_by_the_tools():
    pairs = captions.pairs(200, seed=3, hardness="easy")
    assert split(pairs) == split(pairs, "ptb")


def test_vqa_scores_are_those_of_the_rule_written_a_second_time():
    rows, worst = tables.vqa(400, seed=1)
    assert worst <= tables.LIMIT, rows


def test_the_cases_of_vqa_touch_every_rule():
    cases = vqa_rule.cases(400, seed=1)
    found = {round(float(vqa_rule.accuracy(answer, people)), 1) for answer, people in cases}
    assert found >= {0.0, 0.3, 0.6, 0.9, 1.0}
    texts = " ".join(text for _, people in cases for text in people)
    assert all(piece in texts for piece in ["dont", "the", "two", "3,000", "left/right", "u.s."])
    assert vqa_rule.reduced("The two dogs, dont move.") == "2 dogs don't move"  # by hand


def test_closed_answers_score_as_by_scikit_learn():
    pytest.importorskip("sklearn")
    rows, worst = tables.closed(300, seed=1)
    assert len(rows) == 2 and worst <= tables.LIMIT
