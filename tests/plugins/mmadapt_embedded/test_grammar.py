"""The pretraining texts: complete words, no hint of which combinations are held out."""

from collections import Counter

import numpy as np
import pytest

from mmadapt_embedded.grammar import sample_text, vocabulary
from mmadapt_embedded.tokenizer import build_tokenizer
from mmadapt_shapes.world import MOTIONS, all_combinations, caption, split_of


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [sample_text(rng) for _ in range(20_000)]


def test_every_text_is_made_of_known_words(texts):
    tokenizer = build_tokenizer()
    ids = {i for row in tokenizer(texts[:3000])["input_ids"] for i in row}
    assert tokenizer.unk_token_id not in ids
    assert len(vocabulary()) + 4 == len(tokenizer) < 150


def test_held_out_clips_are_worded_as_often_as_the_others(texts):
    captions = {caption("video", c): c for c in all_combinations("video")}
    counts = Counter(
        text
        for text in (t.removeprefix("a video of ").split(" with ")[0] for t in texts)
        if text in captions
    )
    per_split = Counter()
    for text, count in counts.items():
        per_split[split_of("video", captions[text])] += count
    total = per_split.total()
    assert total > 2000
    assert abs(per_split["test"] / total - 35 / 245) < 0.025
    assert abs(per_split["validation"] / total - 35 / 245) < 0.025


def test_answers_follow_from_the_sentence_before(texts):
    parted = [t.split(". question: ") for t in texts if not t.startswith("question")]
    pairs = [(sentence, asked) for sentence, *rest in parted for asked in rest]
    assert len(pairs) > 2000
    for sentence, asked in pairs:
        question, answer = asked.split(" answer: ")
        assert answer in sentence, (sentence, question, answer)


def test_captions_behind_notes_name_all_that_is_noted(texts):
    parted = [t[1:].split(") a ") for t in texts if t.startswith("(") and ") a " in t]
    assert len(parted) > 5000
    for notes, sentence in parted:
        assert set(notes.split()) <= set(sentence.split()), (notes, sentence)


def test_all_motions_are_worded(texts):
    joined = " ".join(texts)
    assert all(motion in joined for motion in MOTIONS)
