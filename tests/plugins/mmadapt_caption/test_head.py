from mmadapt_caption.head import CaptionConfig, CaptionHead
from tests.tiny import tiny_tokenizer


def test_prompt_is_the_samples_own_or_the_recipes():
    head = CaptionHead(CaptionConfig(prompt="a clip of"))
    assert head.prompt({"id": "1"}) == "a clip of"
    assert head.prompt({"id": "1", "prompt": ""}) == ""
    assert head.prompt({"id": "1", "prompt": "describe"}) == "describe"


def test_target_falls_back_to_the_first_reference():
    head = CaptionHead(CaptionConfig())
    assert head.target({"id": "1", "target": "x", "references": ["y"]}) == "x"
    assert head.target({"id": "1", "target": None, "references": ["y", "z"]}) == "y"
    assert head.target({"id": "1"}) is None


def test_only_the_caption_and_eos_are_learnt():
    words = ["a", "video", "of", "red", "ball"]
    tokenizer = tiny_tokenizer(words)
    sample = {"id": "1", "target": "a red ball", "media": [{"type": "video", "path": "x"}]}
    encoded = CaptionHead(CaptionConfig()).encode(sample, tokenizer, with_target=True)
    prompt, answer = ["a", "video", "of"], ["a", "red", "ball", "</s>"]
    ids = tokenizer.convert_tokens_to_ids
    assert encoded.input_ids == ids(prompt + answer)
    assert encoded.labels == [-100] * 3 + ids(answer)
    assert encoded.media_positions == [0]


def test_answers_lose_the_space_around_them():
    assert CaptionHead(CaptionConfig()).answer({"id": "1"}, " a red ball \n") == "a red ball"
