"""Text as it is tokenised and shown."""

import pytest

from mmadapt.text import EncodedText, encode_text, preview, target_ids
from tests.tiny import tiny_tokenizer

WORDS = ["a", "b", "c", "d"]


def test_a_preview_shows_what_is_learnt_and_where_media_stand():
    tokenizer = tiny_tokenizer(WORDS)
    a, b, c, d = tokenizer.convert_tokens_to_ids(WORDS)
    encoded = EncodedText([a, b, c, d, a], [-100, b, -100, d, a], [0, 0, 3])
    expected = "<media> <media> a [b] c <media> [d a] (2 tokens given, 3 learnt)"
    assert preview(encoded, tokenizer) == expected
    behind = EncodedText([a], [-100], [1])
    assert preview(behind, tokenizer) == "a <media> (1 tokens given, 0 learnt)"


@pytest.mark.parametrize("learn", [False, True])
def test_the_prompt_may_be_learnt_too(learn):
    tokenizer = tiny_tokenizer(WORDS)
    encoded = encode_text("a <media> b", "c", 1, tokenizer, "1", True, learn_prompt=learn)
    ids = tokenizer.convert_tokens_to_ids(["a", "b", "c", "</s>"])
    assert encoded.input_ids == ids
    assert encoded.labels == (ids if learn else [-100, -100, *ids[2:]])
    assert encoded.media_positions == [1]


def test_target_ids_follow_the_last_piece_of_the_prompt():
    tokenizer = tiny_tokenizer(WORDS)
    ids = tokenizer.convert_tokens_to_ids(["c", "</s>"])
    assert target_ids(tokenizer, "a <media> b", "c") == ids
    assert target_ids(tokenizer, "", "c") == ids
    tokenizer.eos_token = None
    assert target_ids(tokenizer, "a", "c") == ids[:1]
