"""Whatever knows a sample only by its id is told where it was read from."""

import pytest

from mmadapt.data.dataset import MediaDataset
from mmadapt.data.length import LengthLimit, TooLongError
from mmadapt.data.origin import located, place
from mmadapt.data.views import EachReference, InMemory
from mmadapt.errors import DataError
from tests import world
from tests.tiny import tiny_tokenizer

SAMPLE = {"id": "a", "origin": "train.jsonl:4", "prompt": "say say", "target": "red"}


def failure(sample, **options):
    samples = MediaDataset(
        EachReference(InMemory([sample])),
        world.PlainHead(None),
        tiny_tokenizer(world.WORDS),
        {"image": ("image", world.ColourProcessor())},
        training=True,
        **options,
    )
    return str(samples[0].error)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": " "}, "has no target text to learn from"),
        ({"media": [{"type": "audio", "path": "a.wav"}]}, "has audio media; the encoders read im"),
        ({"prompt": "<media> say"}, "has 1 <media> markers but 0 media files"),
    ],
)
def test_a_head_that_knows_only_the_id_names_file_and_record(changes, says):
    text = failure({**SAMPLE, **changes})
    assert text.startswith("train.jsonl:4 (sample a): ") and says in text
    assert failure({**SAMPLE, **changes, "id": "4"}).startswith("train.jsonl:4: ")


@pytest.mark.parametrize("too_long", ["error", "skip"])
def test_a_sample_that_does_not_fit_names_file_and_record(too_long):
    text = failure(SAMPLE, limit=LengthLimit(2, too_long))
    assert text.startswith("train.jsonl:4 (sample a): has 4 tokens; at most 2 fit")


def test_a_caption_of_several_names_its_record():
    sample = {"id": "9", "origin": "a.json:images[3]", "references": ["red", " "]}
    samples = EachReference(InMemory([sample]))
    assert place(samples[1]) == "a.json:images[3] (sample 9#1)"


def test_the_kind_of_error_stays_and_others_pass_through():
    with pytest.raises(TooLongError, match=r"^train.jsonl:4 \(sample a\): long$"), located(SAMPLE):
        raise TooLongError("sample", "a", "long")
    with pytest.raises(DataError, match=r"^train.jsonl:4 \(sample a\): no"), located(SAMPLE):
        raise DataError("metric", "a", "no reference")
    with pytest.raises(DataError, match=r"^b.json:3: wrong$"), located(SAMPLE):
        raise DataError("b.json", 3, "wrong")
    with pytest.raises(DataError, match=r"^sample:a: wrong$"), located({"id": "a"}):
        raise DataError("sample", "a", "wrong")
