import numpy as np
import pytest
import torch

from mmadapt.data.items import Item, Medium
from mmadapt.data.length import InsertedTokens, LengthLimit, TooLongError

PER_ITEM = InsertedTokens(1, 2, {"image": 3, "audio": 0}, {"image": 10, "audio": 7})


def item(ids, labelled=2, positions=(), media=()):
    labels = np.full(len(ids), -100)
    if labelled:
        labels[-labelled:] = ids[-labelled:]
    media = tuple(Medium(name, i, torch.zeros(t, 1)) for i, (name, t) in enumerate(media))
    return Item(0, "a", np.array(ids), labels, np.array(positions, dtype=int), media)


@pytest.mark.parametrize(
    ("media", "count"),
    [
        ([], 1),
        ([("image", 1)], 2 + 3 + 10),
        ([("image", 1), ("image", 4), ("audio", 2)], 2 + 3 + 10 + 3 + 40 + 14),
        ([("other", 5)], 2),
    ],
)
def test_media_tokens_are_summed(media, count):
    assert PER_ITEM.count(media) == count


def test_text_media_and_answer_have_to_fit_together():
    sample = item(range(10), media=[("image", 1)])
    assert LengthLimit(25, inserted=PER_ITEM).excess(sample) == 0
    assert LengthLimit(24, inserted=PER_ITEM).excess(sample) == 1
    assert LengthLimit(25, inserted=PER_ITEM, reserved=4).excess(sample) == 4
    assert LengthLimit(None, inserted=PER_ITEM).excess(sample) == 0


def test_the_error_counts_its_parts():
    sample = item(range(10), media=[("image", 1)])
    limit = LengthLimit(20, inserted=PER_ITEM, reserved=4)
    assert str(limit.error(sample)) == (
        "sample:a: has 29 tokens (10 of text, 15 of media, 4 to generate); at most 20 fit; "
        "shorten it, give fewer frames, or set data.too_long to skip or truncate_prompt"
    )


@pytest.mark.parametrize("way", ["error", "truncate_prompt"])
def test_where_media_alone_are_too_long_no_cut_is_suggested(way):
    sample = item(range(10), media=[("image", 1)])
    said = str(LengthLimit(15, way, inserted=PER_ITEM).error(sample))
    assert "its media alone fill that" in said and "truncate_prompt" not in said
    assert "alone" not in str(LengthLimit(16, way, inserted=PER_ITEM).error(sample))


def test_a_prompt_is_cut_from_its_beginning():
    limit = LengthLimit(7, "truncate_prompt")
    cut = limit.fitted(item([1, 10, 11, 12, 13, 14, 15, 20, 21], positions=[1, 2, 4]), prefix=1)
    assert cut.input_ids.tolist() == [1, 12, 13, 14, 15, 20, 21]
    assert cut.labels.tolist() == [-100] * 5 + [20, 21]
    assert cut.media_positions.tolist() == [1, 1, 2]  # before 12 (what they stood before is cut)
    short = item([1, 2, 3])
    assert limit.fitted(short, 1) is short


def test_labelled_tokens_and_the_last_of_a_prompt_are_never_cut():
    limit = LengthLimit(4, "truncate_prompt")
    assert limit.fitted(item([1, 10, 11, 20, 21, 22], labelled=3), 1).input_ids.tolist() == [
        1, 20, 21, 22,
    ]  # fmt: skip
    with pytest.raises(TooLongError, match="7 tokens; at most 4 fit; it does not fit even wi"):
        limit.fitted(item([1, 10, 11, 20, 21, 22, 23], labelled=4), 1)
    bare = item([1, 10, 11, 12, 13], labelled=0)
    assert limit.fitted(bare, 1).input_ids.tolist() == [1, 11, 12, 13]
    with pytest.raises(TooLongError):
        LengthLimit(1, "truncate_prompt").fitted(bare, 1)


def test_without_the_choice_nothing_is_cut():
    with pytest.raises(TooLongError):
        LengthLimit(4).fitted(item(range(9)), 1)
