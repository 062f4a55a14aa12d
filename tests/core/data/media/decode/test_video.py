import sys

import av
import numpy as np
import pytest

from mmadapt.data.media.decode import video, video_decord, video_pyav
from mmadapt.data.media.decode.container import open_video
from mmadapt.data.media.decode.errors import Unreadable
from tests.core.data.media.makers import as_frame, index_of, paint, write_video


def read(path, **fields):
    wanted = {"sampling": "uniform", "num_frames": 4, "fps": None, "start": None, "end": None}
    wanted |= {"path": str(path), "backends": ["decord", "pyav"], "offsets": None, "size": None}
    header, frames = video.read(wanted | fields)
    return header["backend"], [index_of(frame) for frame in frames]


@pytest.fixture
def path(tmp_path):
    return write_video(tmp_path / "a.mp4")


def test_pyav_reads_where_decord_is_not_installed(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    assert read(path) == ("pyav", [2, 7, 12, 17])


def test_pyav_reads_what_decord_fails_on(path, monkeypatch):
    pytest.importorskip("decord")

    def fail(video, times):
        raise RuntimeError("decord's own error")

    monkeypatch.setattr(video_decord, "frames_at", fail)
    assert read(path) == ("pyav", [2, 7, 12, 17])


def test_decord_is_not_given_what_it_reads_wrongly_or_slowly(tmp_path, path, monkeypatch):
    with open_video(str(path)) as clip:
        assert video_decord.is_fit(clip)
        monkeypatch.setattr(video_decord, "DECORD_MAX_SECONDS", 1.9)
        assert not video_decord.is_fit(clip)
        monkeypatch.setattr(video_decord, "DECORD_MAX_SECONDS", 2.1)
        monkeypatch.setattr(video_decord, "DECORD_MAX_BYTES", 10)
        assert not video_decord.is_fit(clip)
    monkeypatch.undo()
    others = [
        write_video(tmp_path / "h.avi", options={"bf": "0"}),
        write_video(tmp_path / "m.mp4", codec="mpeg4"),
        write_video(tmp_path / "r.mp4", rotation=180),
        write_video(tmp_path / "t.ts"),
    ]
    for other in others:
        with open_video(str(other)) as clip:
            assert not video_decord.is_fit(clip)


CODECS = [
    ("a.mp4", "libx264", 12, {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}),
    ("a.mkv", "libx264", 250, {}),
    ("a.mp4", "libx265", 12, {"x265-params": "log-level=none"}),
    ("a.mp4", "mpeg4", 12, {"bf": "2"}),
    ("a.avi", "libx264", 12, {"bf": "0"}),
    ("a.ts", "libx264", 12, {}),
    ("a.webm", "libvpx", 12, {}),
]


@pytest.mark.parametrize(("name", "codec", "gop", "options"), CODECS)
def test_random_moments_show_the_right_frames(tmp_path, name, codec, gop, options):
    path = write_video(tmp_path / name, count=120, codec=codec, gop=gop, options=options)
    rng = np.random.default_rng(0)
    for _ in range(20):
        times = np.sort(rng.uniform(0, 12, rng.integers(1, 8)))
        expected = [int(time * 10 + 1e-2) for time in times]
        with open_video(str(path)) as clip:
            modules = [video_pyav]
            if video_decord.is_fit(clip) and pytest.importorskip("decord"):
                modules.append(video_decord)
        for module in modules:
            with open_video(str(path)) as clip:
                shots = list(module.frames_at(clip, times.tolist()))
                assert clip.duration == pytest.approx(12.0, abs=1e-3)
            assert [index_of(picture) for _, picture in shots] == expected
            np.testing.assert_allclose([time for time, _ in shots], np.array(expected) / 10)


@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.ts"])
def test_a_long_video_costs_no_more_than_what_is_wanted_of_it(tmp_path, name, monkeypatch):
    path = write_video(tmp_path / name, count=1200, fps=1, gop=10)  # 20 minutes
    decoded = 0
    decode = video_pyav._decode

    def counted(clip):
        nonlocal decoded
        for frame in decode(clip):
            decoded += 1
            yield frame

    monkeypatch.setattr(video_pyav, "_decode", counted)
    with open_video(str(path)) as clip:
        times = [75.0 + 150.0 * i for i in range(8)]
        shots = list(video_pyav.frames_at(clip, times))
    assert [index_of(picture) for _, picture in shots] == [int(t) % 256 for t in times]
    assert decoded <= 8 * 30


def test_frames_shown_twice_are_decoded_and_converted_once(path):
    for module in (video_pyav, video_decord):
        with open_video(str(path)) as clip:
            shots = list(module.frames_at(clip, [0.51, 0.55, 0.71]))
        assert shots[0][1] is shots[1][1] and shots[0][1] is not shots[2][1]


def test_a_title_in_another_encoding_does_no_harm(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        stream = container.add_stream("libx264", rate=10, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 32, "yuv420p"
        for i in range(4):
            container.mux(stream.encode(as_frame(paint(i), stream.pix_fmt)))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"caf\xe9!"))
    assert read(path)[1] == [0, 1, 2, 3]


def test_a_codec_that_nothing_decodes(tmp_path):
    path = write_video(tmp_path / "a.avi", codec="mjpeg")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"zzzz"))
    with pytest.raises(Unreadable, match="no decoder"):
        read(path)
