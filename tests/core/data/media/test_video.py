import av
import numpy as np
import pytest

from mmadapt.data.media import read_video
from tests.core.data.media.makers import index_of, indices_of, paint, write_video

FORMATS = {
    "clip.mp4": {"codec": "libx264"},
    "clip.mov": {"codec": "libx264", "gop": 3},
    "clip.mkv": {"codec": "libx264", "gop": 7},
    "clip.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "vp8.webm": {"codec": "libvpx", "gop": 7},
    "clip.avi": {"codec": "mpeg4", "gop": 5},
    "h264.avi": {"codec": "libx264", "gop": 5, "options": {"bf": "0"}},
    "b_frames.mp4": {"codec": "mpeg4", "gop": 7, "options": {"bf": "2"}},
    "hevc.mp4": {"codec": "libx265", "gop": 7, "options": {"x265-params": "log-level=none"}},
    "clip.ts": {"codec": "libx264", "gop": 5},
    "clip.gif": {"codec": "gif"},
    "motion.avi": {"codec": "mjpeg"},
}
DECORD_READS = {"clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "vp8.webm"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


def made(folder, name, **options):
    path = folder / name
    return path if path.exists() else write_video(path, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_uniform_returns_the_frames_at_the_segment_centres(folder, backend, name):
    path = made(folder, name, **FORMATS[name])
    clip = read_video(path, num_frames=4)
    assert indices_of(clip) == [2, 7, 12, 17]
    assert clip.frames.shape == (4, 32, 128, 3) and clip.frames.dtype == np.uint8
    np.testing.assert_allclose(clip.timestamps, [0.2, 0.7, 1.2, 1.7], atol=1e-3)
    assert clip.fps == pytest.approx(10) and clip.duration == pytest.approx(2.0, abs=0.02)
    assert clip.backend == (backend if name in DECORD_READS else "pyav")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "hevc.mp4", "clip.ts"])
def test_a_moment_on_a_frame_boundary_shows_the_frame_that_begins(folder, backend, name):
    path = made(folder, name, **FORMATS[name])
    assert indices_of(read_video(path, num_frames=10)) == list(range(1, 20, 2))


@pytest.mark.parametrize("fps", [15, 24, 30, 60])  # 1/24 s is no whole number of Matroska's ms
def test_every_frame_is_hit_at_its_own_rate(tmp_path, backend, fps):
    path = write_video(tmp_path / "clip.mkv", count=50, fps=fps)
    assert indices_of(read_video(path, fps=fps, sampling="fps")) == list(range(50))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.gif"])
def test_all_returns_every_frame(folder, backend, name):
    path = made(folder, name, **FORMATS[name])
    clip = read_video(path, sampling="all")
    assert indices_of(clip) == list(range(20))
    np.testing.assert_allclose(clip.timestamps, np.arange(20) / 10, atol=1e-3)


def test_all_keeps_to_the_span(folder, backend):
    path = made(folder, "clip.mkv", **FORMATS["clip.mkv"])
    clip = read_video(path, sampling="all", start=0.55, end=1.0)
    assert indices_of(clip) == [5, 6, 7, 8, 9]  # frame 5 is on screen at 0.55 s


def test_rate(folder, backend):
    path = made(folder, "clip.mp4")
    assert indices_of(read_video(path, fps=5, sampling="fps")) == list(range(0, 20, 2))
    few = read_video(path, fps=5, sampling="fps", num_frames=4)
    assert indices_of(few) == [2, 7, 12, 17]
    more = read_video(path, fps=20, sampling="fps", num_frames=100)
    assert indices_of(more) == [i // 2 for i in range(40)]


def test_segment_takes_one_random_frame_of_each_segment(folder, backend):
    path = made(folder, "clip.mp4")
    draws = [
        indices_of(
            read_video(path, num_frames=4, sampling="segment", rng=np.random.default_rng(seed))
        )
        for seed in [*range(12), 0]
    ]
    assert all(5 * i <= index < 5 * i + 5 for draw in draws for i, index in enumerate(draw))
    assert draws[0] == draws[-1]
    assert len({tuple(draw) for draw in draws}) > 8
    assert {draw[0] for draw in draws} == {0, 1, 2, 3, 4}


def test_segment_without_rng_is_deterministic(folder, backend):
    path = made(folder, "clip.mp4")
    assert indices_of(read_video(path, num_frames=4, sampling="segment")) == [2, 7, 12, 17]


def test_a_short_clip_repeats_frames(tmp_path, backend):
    path = write_video(tmp_path / "short.mp4", count=3)
    assert indices_of(read_video(path, num_frames=8)) == [0, 0, 0, 1, 1, 2, 2, 2]


def test_one_frame_is_a_video(tmp_path, backend):
    path = write_video(tmp_path / "one.mp4", count=1)
    assert indices_of(read_video(path, num_frames=4)) == [0, 0, 0, 0]


def test_start_and_end(folder, backend):
    path = made(folder, "clip.mkv", **FORMATS["clip.mkv"])
    assert indices_of(read_video(path, num_frames=2, start=0.5, end=1.5)) == [7, 12]
    assert indices_of(read_video(path, num_frames=2, start=1.0, end=99.0)) == [12, 17]
    assert indices_of(read_video(path, fps=10, sampling="fps", start=1.7)) == [17, 18, 19]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_goes_by_time_stamps(tmp_path, backend, suffix):
    times = [i * i * 10 for i in range(20)]  # 0, 10, 40, 90, … 3610 ms
    path = write_video(tmp_path / f"vfr.{suffix}", times_ms=times)
    clip = read_video(path, num_frames=8)
    moments = [(i + 0.5) * clip.duration / 8 * 1000 for i in range(8)]
    assert indices_of(clip) == [max(j for j in range(20) if times[j] <= t) for t in moments]
    assert clip.duration > 3.61


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_applied(tmp_path, backend, turn):
    upright = np.zeros((96, 64, 3), np.uint8)
    upright[:32, :32] = 255  # white top left, grey bottom right
    upright[64:, 32:] = 128
    stored = np.ascontiguousarray(np.rot90(upright, -turn // 90))
    path = write_video(tmp_path / "phone.mp4", frames=[stored] * 3, rotation=turn)
    clip = read_video(path, num_frames=2)
    assert clip.frames.shape == (2, 96, 64, 3)
    np.testing.assert_allclose(clip.frames[0, 8:24, 8:24], 255, atol=6)
    np.testing.assert_allclose(clip.frames[0, 72:88, 40:56], 128, atol=6)
    np.testing.assert_allclose(clip.frames[0, 8:24, 40:56], 0, atol=6)


def test_colours_are_rgb(tmp_path, backend):
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 220
    path = write_video(tmp_path / "red.mp4", frames=[red] * 3)
    colour = read_video(path, num_frames=1).frames[0].mean(axis=(0, 1))
    np.testing.assert_allclose(colour, [220, 0, 0], atol=6)


def test_times_count_from_the_first_frame(tmp_path, backend):
    path = write_video(tmp_path / "late.mkv", times_ms=[5000 + 100 * i for i in range(20)])
    clip = read_video(path, num_frames=4)
    assert indices_of(clip) == [2, 7, 12, 17]
    np.testing.assert_allclose(clip.timestamps, [0.2, 0.7, 1.2, 1.7], atol=1e-3)


def test_sound_longer_than_the_picture_does_not_stretch_it(tmp_path, backend):
    path = write_video(tmp_path / "talk.mp4", sound=np.zeros(16000 * 8, np.float32))
    clip = read_video(path, num_frames=4)
    assert indices_of(clip) == [2, 7, 12, 17]
    assert clip.duration == pytest.approx(2.0, abs=0.02)


def test_size_resizes_frames(folder, backend):
    path = made(folder, "clip.mp4")
    clip = read_video(path, num_frames=4, size=(40, 80))
    assert clip.frames.shape == (4, 40, 80, 3)
    assert indices_of(clip) == [2, 7, 12, 17]


def test_transparent_parts_are_white(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, 8:] = [200, 0, 0, 255]
    pixels[:, 16:, 3] = 51  # a fifth
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode())
    row = read_video(tmp_path / "a.mov", num_frames=1).frames[0, 0]
    assert [row[x].tolist() for x in (2, 12, 20)] == [[255] * 3, [200, 0, 0], [244, 204, 204]]


def test_painted_indices_can_be_told_apart():
    assert [index_of(paint(i)) for i in range(256)] == list(range(256))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "takes num_frames"),
        ({"num_frames": 0}, "at least 1"),
        ({"num_frames": 4, "fps": 2.0}, "no fps"),
        ({"sampling": "fps"}, "positive fps"),
        ({"sampling": "fps", "fps": float("nan")}, "positive fps"),
        ({"sampling": "all", "num_frames": 4}, "neither"),
        ({"sampling": "random", "num_frames": 4}, "uniform, segment, fps, all"),
        ({"num_frames": 4, "size": (0, 10)}, "height, width"),
        ({"num_frames": 4, "timeout": 0}, "timeout"),
    ],
)
def test_arguments_that_do_not_fit_together(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_video(made(folder, "clip.mp4"), **arguments)
