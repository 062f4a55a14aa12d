import numpy as np
import pytest
from PIL import Image

from mmadapt.errors import DataError
from mmadapt_lmms_eval.media import media_parts
from mmadapt_lmms_eval.options import MAX_NEW_TOKENS, cut, generation_options


def test_what_tasks_give_as_media():
    picture, clip = Image.new("RGB", (4, 4)), np.zeros((3, 4, 4, 3), dtype=np.uint8)
    sound = {"array": [0.0, 0.5], "sampling_rate": 16000}
    parts = media_parts([picture, "a/b.MP4", "c.wav", clip, clip[0], sound, None], "t/0")
    assert [part["type"] for part in parts] == [
        "image", "video", "audio", "video", "image", "audio",
    ]  # fmt: skip
    assert parts[0]["value"] is picture and parts[1]["path"] == "a/b.MP4"
    values, rate = parts[5]["value"]
    assert values.tolist() == [0.0, 0.5] and rate == 16000
    assert media_parts(None, "t/0") == [] and len(media_parts(picture, "t/0")) == 1


@pytest.mark.parametrize(("visual", "said"), [("a.txt", "no known kind"), (3, "is a int")])
def test_other_media_are_named_with_their_document(visual, said):
    with pytest.raises(DataError, match=f"t/7: .*{said}"):
        media_parts([visual], "t/7")


def test_generation_kwargs_become_options():
    assert generation_options({"until": ["x"], "temperature": 0, "top_p": 0.9}) == {
        "do_sample": False, "max_new_tokens": MAX_NEW_TOKENS,
    }  # fmt: skip
    kwargs = {"temperature": 0.7, "max_new_tokens": 4, "image_aspect_ratio": 1}
    assert generation_options(kwargs) == {
        "temperature": 0.7, "max_new_tokens": 4, "do_sample": True,
    }  # fmt: skip
    assert generation_options({"temperature": 0.7, "do_sample": False, "num_beams": 2}) == {
        "num_beams": 2, "do_sample": False, "max_new_tokens": MAX_NEW_TOKENS,
    }  # fmt: skip
    assert (
        cut("a b\nc", "\n") == "a b" and cut("a", None) == "a" and cut("a.b|c", ["|", "."]) == "a"
    )
