"""The measurement on shorter files: the right frames, in time that does not grow with length."""

import sys

import pytest

from tests.media import long_video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_ten_minutes_cost_little_more_than_one():
    short, long = long_video.compare(minutes=10.0, short=1.0, frames=8)
    assert long.nbytes > 5 * short.nbytes
    assert long.seconds < 6 * short.seconds + 0.2  # each frame decodes up to one group of pictures
    assert long.peak < short.peak + 32 * 2**20
