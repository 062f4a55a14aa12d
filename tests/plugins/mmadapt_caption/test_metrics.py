import math

import numpy as np
import pytest

from mmadapt.errors import DataError
from mmadapt_caption import java
from mmadapt_caption.metrics import Bleu, CaptionMetricConfig, Cider, RougeL

PAIRS = [
    ("a red ball rolls left", ["a red ball rolls left", "the red ball moves left"]),
    ("a dog", ["a cat sleeps on a mat"]),
    ("Two birds fly over the sea.", ["two birds fly over a lake", "birds over the sea"]),
]


def scored(cls, pairs=PAIRS, **options):
    metric = cls(CaptionMetricConfig(**options))
    for number, (answer, references) in enumerate(pairs):
        metric.update({"id": str(number), "references": references}, answer)
    return metric.compute()


def test_bleu_of_a_hand_computed_corpus():
    # answers 5 + 2 words; clipped matches: unigrams 5 + 1 of 7, bigrams 4 + 0 of 5; closest
    # reference lengths 5 + 6, so the brevity penalty is exp(1 - 11 / 7)
    result = scored(Bleu, PAIRS[:2])
    penalty = math.exp(1 - 11 / 7)
    assert result.values["bleu_1"] == pytest.approx(6 / 7 * penalty, rel=1e-6)
    assert result.values["bleu_2"] == pytest.approx(math.sqrt(6 / 7 * 4 / 5) * penalty, rel=1e-6)
    assert list(result.values) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4"]


def test_rouge_l_of_a_hand_computed_pair():
    # "a dog" and "a cat sleeps on a mat": LCS 1, precision 1/2, recall 1/6, beta 1.2
    result = scored(RougeL, [PAIRS[1]])
    assert result.values["rouge_l"] == pytest.approx(2.44 / 2 / 6 / (1 / 6 + 1.44 / 2))


def test_cider_follows_its_definition():
    """tf-idf cosine for n = 1 to 4, clipped, with a Gaussian length penalty."""
    pairs = [("a red ball rolls", ["a red ball rolls fast"]), ("x y z w", ["a dog runs home now"])]
    result = scored(Cider, pairs)
    # idf is log(2 / df): 0 for "a", in both references, and log 2 for every other n-gram of the
    # reference, and for those of the answer. The cosine therefore only counts n-grams.
    shared = [3, 3, 2, 1]  # red ball rolls; three bigrams; two trigrams; one 4-gram
    answer = [3, 3, 2, 1]
    reference = [4, 4, 3, 2]
    cosines = [s / math.sqrt(a * r) for s, a, r in zip(shared, answer, reference, strict=True)]
    # the scorer takes the number of bigrams for the length: 3 and 4
    expected = 10 * sum(cosines) / 4 * math.exp(-1 / (2 * 36))
    assert result.per_sample == pytest.approx([expected, 0.0])
    assert result.values["cider"] == pytest.approx(expected / 2)


def test_a_perfect_answer_scores_ten():
    pairs = [(text, [text]) for text in ("a red ball rolls left", "two birds fly over water")]
    assert scored(Cider, pairs).values["cider"] == pytest.approx(10.0)


@pytest.mark.parametrize("pairs", [PAIRS[:1], [PAIRS[0], PAIRS[0]]])
def test_cider_without_different_references_is_zero_and_says_why(pairs):
    result = scored(Cider, pairs)
    assert result.values["cider"] == 0.0
    assert "different references" in result.settings["note"]
    assert "note" not in scored(Cider).settings


@pytest.mark.parametrize("cls", [Cider, Bleu, RougeL])
def test_every_metric_scores_each_sample_silently_and_says_how(cls, capsys):
    result = scored(cls, [*PAIRS, ("", ["something else"])])
    assert len(result.per_sample) == 4 and result.per_sample[3] == pytest.approx(0.0, abs=1e-6)
    assert capsys.readouterr().out == ""
    assert result.settings["tool"].startswith("pycocoevalcap 1.")
    assert result.settings["tokenizer"].startswith("builtin: PTB-like")
    assert result.settings["version"] == cls.version


@pytest.mark.parametrize("cls", [Cider, Bleu, RougeL])
def test_nothing_to_score_is_an_error(cls):
    config = CaptionMetricConfig()
    with pytest.raises(DataError, match="no answer"):
        cls(config).compute()
    with pytest.raises(DataError, match="a7: has no reference"):
        cls(config).update({"id": "a7"}, "text")
    with pytest.raises(DataError, match="a7: has references without a single word"):
        cls(config).update({"id": "a7", "references": ["...", "."]}, "text")


def test_the_target_is_the_reference_where_there_is_no_other():
    metric = RougeL(CaptionMetricConfig())
    metric.update({"id": "1", "target": "a cat"}, "a cat")
    assert metric.compute().values["rouge_l"] == pytest.approx(1.0)


def test_a_draw_of_bleu_scores_the_samples_drawn():
    result, places = scored(Bleu), np.array([2, 0, 2])
    assert result.draw(places) == pytest.approx(
        scored(Bleu, [PAIRS[place] for place in places]).values, rel=1e-6
    )


def test_a_draw_of_cider_keeps_the_document_frequencies_of_the_whole_set():
    result = scored(Cider)
    assert result.draw is None
    assert result.values["cider"] == pytest.approx(np.mean(result.per_sample))
    drawn = scored(Cider, [PAIRS[0], PAIRS[0]])  # idf anew: 0 wherever two are the same
    assert drawn.values["cider"] == 0.0 < result.per_sample[0]


@pytest.mark.parametrize("cls", [Cider, Bleu, RougeL])
def test_the_tools_own_tokenizer_by_choice(cls, monkeypatch):
    """Its tokens are scored, without the punctuation that the tools drop."""
    given = []

    def split(texts):
        given.extend(texts)
        return [text.replace(".", " .").split() for text in texts]

    monkeypatch.setattr(java, "java", lambda purpose: "java")
    monkeypatch.setattr(java, "ptb_lines", split)
    result = scored(cls, [("red dots.", ["red dots"]), ("blue", ["sky", "sea."])], tokenizer="ptb")
    assert given == ["red dots.", "blue", "red dots", "sky", "sea."]
    assert result.per_sample[0] > 0.0 and result.per_sample[1] == pytest.approx(0.0, abs=1e-6)
    assert result.settings["tokenizer"].startswith("ptb: PTBTokenizer of Stanford CoreNLP 3.4.1")
