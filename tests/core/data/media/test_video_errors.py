import os
import pickle

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmadapt.data.media import read_video
from mmadapt.data.media.decode import container
from mmadapt.data.media.decode import video as operation
from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.errors import MediaError, MMAdaptError
from tests.core.data.media.makers import indices_of, paint, tone, write_video


def failure(path, **arguments):
    with pytest.raises(MediaError) as caught:
        read_video(path, **{"num_frames": 4, **arguments})
    error = caught.value
    assert error.path == path and str(error).startswith(f"{path}: cannot read video: ")
    assert error.reason in str(error) and error.advice in str(error) and error.advice
    return error.reason


def test_missing_file(tmp_path):
    assert failure(tmp_path / "no.mp4") == "no such file"


def test_broken_link(tmp_path):
    (tmp_path / "link.mp4").symlink_to(tmp_path / "gone.mp4")
    assert failure(tmp_path / "link.mp4") == "it is a link to a file that does not exist"


def test_folder(tmp_path):
    assert failure(tmp_path) == "it is a folder"


def test_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert failure(tmp_path / "empty.mp4") == "the file is empty (0 bytes)"


def test_pipe_is_refused_before_it_blocks(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failure(tmp_path / "pipe.mp4") == "it is a pipe, a socket or a device"


def test_name_that_no_file_can_have():
    assert "null" in failure("a\0b.mp4")


@pytest.mark.skipif(
    getattr(os, "geteuid", int)() == 0, reason="root, and Windows, may read everything"
)
def test_forbidden_file(tmp_path):
    path = write_video(tmp_path / "secret.mp4")
    path.chmod(0)
    assert failure(path) == "permission denied"


def test_random_bytes(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(50_000))
    assert "not a video file, or it is damaged" in failure(path)


def test_text_is_not_a_video(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("FFmpeg would paint this text as a terminal\n" * 50)
    assert "not a video file" in failure(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_picture_is_not_a_video(tmp_path, suffix):
    path = tmp_path / f"still.{suffix}"
    Image.new("RGB", (40, 30)).save(path)
    assert "not a video file" in failure(path)


def test_playlist_is_not_followed(tmp_path):
    write_video(tmp_path / "real.ts", gop=5)
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.ts\n#EXT-X-ENDLIST\n")
    assert "not a video file" in failure(path)


def test_sound_has_no_video_track(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, tone(1, 8000), 8000)
    assert failure(path) == "it has no video track"


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_cut_file_says_where_it_ends(tmp_path, backend, name):
    noise = np.random.default_rng(0).integers(0, 255, (100, 32, 128, 3), np.uint8)
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = write_video(
        tmp_path / name, frames=list(noise), codec=codec, gop=10, container_options=options
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut" in failure(path)
    clip = read_video(path, num_frames=4, end=2.0)
    assert len(clip) == 4


def test_cut_before_its_index(tmp_path):
    path = write_video(tmp_path / "noindex.mp4")  # the index stands at the end
    path.write_bytes(path.read_bytes()[:-200])
    assert "damaged" in failure(path)


def test_damaged_bytes_end_in_frames_or_in_an_error(tmp_path, backend):
    whole = write_video(tmp_path / "whole.mkv", gop=5).read_bytes()
    rng = np.random.default_rng(0)
    for i in range(20):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, len(data), 60)] = rng.integers(0, 256, 60)
        path = tmp_path / f"{i}.mkv"
        path.write_bytes(data.tobytes())
        try:
            assert len(read_video(path, num_frames=4)) == 4
        except MediaError as error:
            assert error.path == path


def test_start_after_the_end(tmp_path, backend):
    path = write_video(tmp_path / "a.mp4")
    assert failure(path, start=5.0) == "start=5 s is not before its end (2.00 s)"


@pytest.mark.parametrize("span", [(-1.0, None), (1.0, 1.0), (2.0, 1.0), (float("nan"), None)])
def test_span_that_cannot_be(tmp_path, span):
    path = write_video(tmp_path / "a.mp4")
    assert "0 <= start < end" in failure(path, start=span[0], end=span[1])


def test_too_many_frames(tmp_path, backend):
    path = write_video(tmp_path / "a.mp4")
    assert "more than 8192 frames" in failure(
        path, num_frames=None, sampling="fps", fps=1_000_000.0
    )


def request(path, **fields):
    wanted = {"sampling": "all", "num_frames": None, "fps": None, "start": None, "end": None}
    return (
        {"path": str(path), "backends": ["pyav"], "offsets": None, "size": None} | wanted | fields
    )


def test_too_many_bytes(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(operation, "MAX_CLIP_BYTES", 32 * 128 * 3 * 10)
    for fields in ({}, {"sampling": "uniform", "num_frames": 11}):
        with pytest.raises(Unreadable, match="MiB"):
            operation.read(request(path, **fields))
    assert len(operation.read(request(path, sampling="uniform", num_frames=10))[1]) == 10


def test_too_many_frames_of_a_whole_file(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(operation, "MAX_VIDEO_FRAMES", 10)
    with pytest.raises(Unreadable, match="more than 10 frames"):
        operation.read(request(path))


def test_too_large_frames(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(container, "MAX_VIDEO_SIDE", 127)
    with pytest.raises(Unreadable, match="128 x 32 pixels, more than 127"):
        operation.read(request(path))


def test_relative_paths_follow_the_working_directory(tmp_path, monkeypatch):
    for i, folder in enumerate(["one", "two"]):  # the reader process stays where it started
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        write_video("a.mp4", frames=[paint(i + 1)] * 4)
        assert indices_of(read_video("a.mp4", num_frames=1)) == [i + 1]


class Videos:
    """A dataset of one file, read in a loader worker."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return read_video(self.path, num_frames=2).frames


def test_a_loader_worker_reads_and_its_error_keeps_file_and_reason(tmp_path):
    from torch.utils.data import DataLoader

    good = write_video(tmp_path / "good.mp4")
    batch = next(iter(DataLoader(Videos(good), num_workers=1, timeout=120)))
    assert batch.shape == (1, 2, 32, 128, 3)
    bad = tmp_path / "bad.mp4"
    bad.touch()
    with pytest.raises(MediaError) as caught:
        next(iter(DataLoader(Videos(bad), num_workers=1, timeout=120)))
    error = caught.value
    assert (error.path, error.kind) == (str(bad), "video")
    assert error.reason == "the file is empty (0 bytes)"
    assert str(error) == (
        f"{bad}: cannot read video: the file is empty (0 bytes). Fetch or make it again."
    )


def test_the_error_survives_pickling():
    error = MediaError("a.mp4", "the file is empty", "video", "Fetch it again.")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, MMAdaptError) and str(copy) == str(error)
    assert (copy.path, copy.reason, copy.kind) == ("a.mp4", "the file is empty", "video")
