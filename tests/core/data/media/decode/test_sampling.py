import numpy as np
import pytest

from mmadapt.data.media.decode.sampling import rate_times, segment_indices, segment_times


def test_centres_of_segments():
    assert segment_times(0.0, 8.0, 4) == [1.0, 3.0, 5.0, 7.0]
    assert segment_times(2.0, 4.0, 2) == [2.5, 3.5]


def test_offsets_move_within_segments():
    assert segment_times(0.0, 8.0, 4, [0.0, 0.25, 0.5, 0.75]) == [0.0, 2.5, 5.0, 7.5]


def test_rate():
    assert rate_times(1.0, 3.0, 2.0) == [1.0, 1.5, 2.0, 2.5]
    assert len(rate_times(0.0, 2.00001, 10.0)) == 20  # rounding makes no frame of its own
    assert len(rate_times(0.0, 2.05, 10.0)) == 21
    assert rate_times(0.0, 0.01, 1.0) == [0.0]


def test_rate_is_bounded():
    assert rate_times(0.0, 8.0, 10.0, num_frames=4) == segment_times(0.0, 8.0, 4)
    assert len(rate_times(0.0, 8.0, 1.0, num_frames=100)) == 8


@pytest.mark.parametrize("total", [1, 2, 3, 7, 8, 9, 100])
@pytest.mark.parametrize("count", [1, 3, 8, 16])
def test_indices_of_frames_in_memory(total, count):
    centres = segment_indices(total, count)
    assert centres == [int((i + 0.5) * total / count + 1e-9) for i in range(count)]
    drawn = segment_indices(total, count, np.random.default_rng(0).random(count).tolist())
    for i, index in enumerate(drawn):
        assert int(i * total / count) <= index < (i + 1) * total / count
    assert segment_indices(total, count, [1 - 1e-12] * count)[-1] == total - 1
