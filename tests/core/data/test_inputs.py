import numpy as np
import pytest
from PIL import Image

from mmadapt.data.inputs import collate_prompts, samples_from_media
from mmadapt.errors import DataError, MediaError
from tests import world
from tests.tiny import tiny_tokenizer

IMAGE = {"image"}
BOTH = {"image", "video", "audio"}
PICTURE = Image.new("RGB", (4, 4))


def media_of(media, prompt=None, modalities=BOTH):
    samples, is_batch = samples_from_media(media, prompt, modalities)
    return [[part.get("path", part.get("value")) for part in s["media"]] for s in samples], is_batch


def test_one_medium_is_one_sample():
    assert media_of({"image": "a.png"}) == ([["a.png"]], False)
    assert media_of({"image": PICTURE, "video": None}) == ([[PICTURE]], False)
    wave = (np.zeros(4), 16000)
    assert media_of({"audio": wave}) == ([[wave]], False)


def test_a_list_is_a_batch():
    assert media_of({"image": ["a.png", "b.png"]}) == ([["a.png"], ["b.png"]], True)
    assert media_of({"image": ["a.png"]}) == ([["a.png"]], True)
    assert media_of({"image": "a.png"}, ["x", "y"]) == ([["a.png"], ["a.png"]], True)


def test_a_list_of_pictures_given_as_video_is_one_clip():
    frames = [PICTURE, PICTURE]
    assert media_of({"video": frames}) == ([[frames]], False)
    assert media_of({"video": [frames, frames]}) == ([[frames], [frames]], True)
    clip = np.zeros((2, 4, 4, 3))
    assert media_of({"video": [clip]})[1] is True and media_of({"video": clip})[1] is False


def test_prompts_go_with_their_samples():
    samples, _ = samples_from_media({"image": ["a", "b"]}, ["x", "y"], IMAGE)
    assert [s["prompt"] for s in samples] == ["x", "y"]
    samples, _ = samples_from_media({"image": "a"}, None, IMAGE)
    assert "prompt" not in samples[0]
    samples, _ = samples_from_media({}, "only text", IMAGE)
    assert samples[0]["media"] == []


def test_a_conversation_is_one_prompt():
    turns = [{"role": "user", "content": "x"}]
    samples, is_batch = samples_from_media({"image": "a"}, turns, IMAGE)
    assert samples[0]["messages"] == turns and "prompt" not in samples[0] and not is_batch
    samples, is_batch = samples_from_media({}, [turns, "y"], IMAGE)
    assert (samples[0]["messages"], samples[1]["prompt"], is_batch) == (turns, "y", True)


def test_a_list_within_a_batch_belongs_to_one_sample():
    both = {"image": [["a", "b"], ["c"]], "audio": ["x", ["y", "z"]]}
    assert media_of(both) == ([["a", "b", "x"], ["c", "y", "z"]], True)


@pytest.mark.parametrize(
    ("media", "prompt", "reason"),
    [
        ({"audio": "a.wav"}, None, "no audio encoder; it takes image"),
        ({"image": None}, None, "give it media or a prompt"),
        ({"image": ["a", "b"]}, ["x"], "2 x image, 1 x prompt"),
        ({"image": []}, None, "0 x image"),
    ],
)
def test_what_cannot_be_answered_is_refused(media, prompt, reason):
    with pytest.raises(DataError, match=reason):
        samples_from_media(media, prompt, IMAGE)


def test_samples_become_a_batch_for_generation():
    samples, _ = samples_from_media({"image": ["c1/1", "c2/2"]}, "say", IMAGE)
    processors = {"image": ("image", world.ColourProcessor())}
    rest = (world.PlainHead(None), tiny_tokenizer(world.WORDS), processors)
    batch = collate_prompts(samples, *rest)
    assert set(batch) == {"input_ids", "attention_mask", "media_positions", "media"}
    assert batch["media"]["image"]["values"].shape == (2, 1, 5, 8)
    bad, _ = samples_from_media({"image": "bad/1"}, "say", IMAGE)
    with pytest.raises(MediaError, match="bad/1"):
        collate_prompts(bad, *rest)
