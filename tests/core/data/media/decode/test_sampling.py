from mmadapt.data.media.decode.sampling import rate_times, segment_times


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
