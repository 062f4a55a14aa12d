import numpy as np
import pytest
import torch

from mmadapt.data.collate import Collator, padding_id
from mmadapt.data.dataset import Failed, Item, Medium
from mmadapt.errors import DataError, MediaError
from tests.tiny import tiny_tokenizer


def item(name, ids, media=(), positions=(), labels=None):
    labels = ids if labels is None else labels
    arrays = [np.asarray(values, dtype=np.int64) for values in (ids, labels, positions)]
    return Item(0, name, *arrays, media=tuple(media))


def medium(values, encoder="image", file=0, mask=None, key=None):
    return Medium(encoder, file, torch.as_tensor(values, dtype=torch.float32), mask, key)


def test_text_is_padded_on_the_right():
    batch = Collator(9)([item("a", [5, 6, 7], positions=[1]), item("b", [8], labels=[-100])])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[True] * 3, [True, False, False]]
    assert batch["attention_mask"].dtype == torch.bool
    assert batch["labels"].tolist() == [[5, 6, 7], [-100, -100, -100]]
    assert batch["media_positions"].tolist() == [[1], [-1]]
    assert batch["media"] == {} and "failed" not in batch
    assert "labels" not in Collator(9, with_labels=False)([item("a", [5])])


def test_media_of_a_sample_follow_one_another_and_are_numbered():
    two = item("a", [1], [medium([[1.0], [2.0]]), medium([[3.0]], file=1)], [0, 0])
    one = item("b", [1], [medium([[4.0]])], [0])
    image = Collator(0)([two, one])["media"]["image"]
    assert image["values"].squeeze(-1).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert image["item"].tolist() == [[0, 0, 1], [0, -1, -1]]
    assert "mask" not in image


def test_encoders_without_media_are_left_out_and_missing_samples_are_padded():
    sound = item("a", [1], [medium([[1.0]], "sound")], [0])
    silent = item("b", [1])
    batch = Collator(0)([silent, sound])
    assert list(batch["media"]) == ["sound"]
    assert batch["media"]["sound"]["item"].tolist() == [[-1], [0]]


def test_media_of_different_sizes_are_padded_under_their_masks():
    long = medium([[1.0, 2.0, 3.0]], mask=torch.tensor([[True, True, False]]))
    short = medium([[4.0]], mask=torch.tensor([[True]]))
    image = Collator(0)([item("a", [1], [long]), item("b", [1], [short])])["media"]["image"]
    assert image["values"].tolist() == [[[1, 2, 3]], [[4, 0, 0]]]
    assert image["mask"].tolist() == [[[True, True, False]], [[True, False, False]]]


def test_media_of_different_sizes_without_masks_are_refused():
    items = [item("a", [1], [medium([[1.0, 2.0]])]), item("b", [1], [medium([[1.0]])])]
    with pytest.raises(DataError, match=r"encoder 'image'.*\(2,\) \(a\).*\(1,\) \(b\)"):
        Collator(0)(items)


def test_frames_keep_their_type():
    frames = Medium("image", 0, torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert Collator(0)([item("a", [1], [frames])])["media"]["image"]["values"].dtype == torch.uint8


def test_failures_travel_beside_the_rest():
    failed = Failed(3, "bad", MediaError("x.png", "damaged"))
    assert Collator(0)([failed]) == {"failed": [failed]}
    last = Failed(4, "worse", MediaError("y.png", "damaged"), others=(failed,))
    assert Collator(0)([last]) == {"failed": [failed, last]}
    batch = Collator(0)([item("a", [1]), failed])
    assert batch["failed"] == [failed] and batch["input_ids"].shape == (1, 1)


def test_equal_media_have_equal_keys():
    rows = [
        item("a", [1], [medium([[1.0]], key="x")]),
        item("b", [1], [medium([[1.0]], key="x")]),
        item("c", [1], [medium([[1.0]], key="x", file=1)]),
        item("d", [1], [medium([[1.0]])]),
        item("e", [1]),
    ]
    a, b, c, d, e = Collator(0)(rows)["media"]["image"]["keys"]
    assert a == b and len({a, c, e}) == 3 and d is None


def test_padding_needs_no_token_of_its_own():
    tokenizer = tiny_tokenizer()
    assert padding_id(tokenizer) == 0
    tokenizer.pad_token = None
    assert padding_id(tokenizer) == tokenizer.eos_token_id == 2
    tokenizer.eos_token = None
    assert padding_id(tokenizer) == 0
