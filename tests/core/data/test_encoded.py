import os

import pytest

from mmadapt.data.encoded import on_disk
from mmadapt.errors import MediaError


def test_bytes_lie_in_a_file_for_a_while():
    part = {"type": "image", "value": b"abc", "start": 1.0, "end": 2.0}
    with on_disk(part, "row 3") as shown:
        path = shown["path"]
        with open(path, "rb") as stream:
            assert stream.read() == b"abc"
        assert (shown["start"], shown["end"], "value" in shown) == (1.0, 2.0, False)
    assert not os.path.exists(path)


def test_an_error_names_the_sample_and_leaves_no_file():
    with (
        pytest.raises(MediaError, match=r"^row 3: cannot read image: it is damaged") as caught,
        on_disk({"type": "image", "value": b"abc"}, "row 3") as shown,
    ):
        path = shown["path"]
        raise MediaError(path, "it is damaged", "image")
    assert path not in str(caught.value) and not os.path.exists(path)


@pytest.mark.parametrize(
    "part", [{"type": "image", "path": "a.png"}, {"type": "image", "value": 3}]
)
def test_other_parts_are_handed_through(part):
    with on_disk(part, "row 3") as shown:
        assert shown is part
