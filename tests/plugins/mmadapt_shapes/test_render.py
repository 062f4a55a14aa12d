"""Files are real, deterministic and never half written."""

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from mmadapt_shapes.render import SUFFIXES, render, whole_file
from mmadapt_shapes.scenes import NUM_FRAMES, video_scene
from mmadapt_shapes.world import combinations

MEDIUMS = ("video", "image", "audio")


def rendered(folder, medium, seed, name="a"):
    path = folder / f"{name}{SUFFIXES[medium]}"
    render(medium, combinations(medium, "train")[3], [seed, 1], path)
    return path


@pytest.mark.parametrize("medium", MEDIUMS)
def test_the_seed_decides_every_byte(tmp_path, medium):
    first = rendered(tmp_path, medium, 0, "a").read_bytes()
    assert rendered(tmp_path, medium, 0, "b").read_bytes() == first
    assert rendered(tmp_path, medium, 1, "c").read_bytes() != first


def test_a_clip_decodes_to_what_was_drawn(tmp_path):
    path = rendered(tmp_path, "video", 0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    rng = np.random.default_rng([0, 1])
    drawn = video_scene(rng, combinations("video", "train")[3]).frames(rng)
    assert frames.shape == drawn.shape == (NUM_FRAMES, 64, 64, 3)
    assert np.abs(frames.astype(int) - drawn).mean() < 6, "lossy, but the same scene"


def test_a_picture_and_a_sound_decode(tmp_path):
    with Image.open(rendered(tmp_path, "image", 0)) as picture:
        assert (picture.size, picture.mode) == ((64, 64), "RGB")
    wave, rate = soundfile.read(rendered(tmp_path, "audio", 0))
    assert rate == 16_000 and wave.ndim == 1 and np.abs(wave).max() > 0.3


def test_a_failure_leaves_nothing_and_spares_the_old_file(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    assert path.read_bytes() == b"old"


def test_the_finished_file_is_the_temporary_one_renamed(tmp_path):
    with whole_file(tmp_path / "x.bin") as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.parent == tmp_path, "a rename is atomic within one file system"
        inode = temporary.stat().st_ino
    assert (tmp_path / "x.bin").stat().st_ino == inode
