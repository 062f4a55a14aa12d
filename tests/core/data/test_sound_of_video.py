"""`data.audio_from_video`: a clip's own track through an encoder of sounds, on real files."""

import numpy as np
import pytest
import torch

from mmadapt.contracts import Processor
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Failed
from mmadapt.data.media import read_audio, read_video
from mmadapt.data.views import InMemory, WithSound
from tests import world
from tests.core.data.media.makers import pitch, tone, write_video
from tests.tiny import tiny_tokenizer

RATE = 16000


class Frames(Processor):
    def __call__(self, media, rng=None):
        clip = read_video(media["path"], num_frames=2, start=media.get("start"))
        return torch.from_numpy(clip.frames.copy())


class Sound(Processor):
    def __call__(self, media, rng=None):
        waveform = read_audio(media["path"], sampling_rate=RATE, start=media.get("start"))
        return torch.from_numpy(waveform[: RATE // 2])[None]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    hertz = {"low.mp4": 300.0, "high.mkv": 900.0}
    for name, pitch_ in hertz.items():
        write_video(folder / name, sound=tone(2.0, RATE, hertz=pitch_))
    write_video(folder / "silent.mp4")
    (folder / "broken.mp4").write_bytes((folder / "low.mp4").read_bytes()[:400])
    return folder


def prepared(clips, name, prompt="say", **part):
    clip = {"type": "video", "path": str(clips / name), **part}
    source = InMemory([{"id": "a", "prompt": prompt, "target": "red", "media": [clip]}])
    processors = {"video": ("video", Frames()), "audio": ("audio", Sound())}
    options = {"training": True}
    tokenizer = tiny_tokenizer(world.WORDS)
    return MediaDataset(WithSound(source), world.PlainHead(None), tokenizer, processors, **options)[
        0
    ]


@pytest.mark.parametrize(("name", "hertz"), [("low.mp4", 300), ("high.mkv", 900)])
def test_the_sound_is_the_clips_own(clips, name, hertz):
    item = prepared(clips, name)
    assert [(m.encoder, m.file) for m in item.media] == [("audio", 0), ("video", 1)]
    assert pitch(item.media[0].values[0].numpy(), RATE) == pytest.approx(hertz, abs=5)
    assert item.media[1].values.shape[0] == 2


def test_the_sound_has_the_clips_span(clips):
    whole, part = prepared(clips, "low.mp4"), prepared(clips, "low.mp4", start=1.7)
    assert whole.media[0].values.shape[1] == RATE // 2
    assert part.media[0].values.shape[1] == pytest.approx(0.3 * RATE, abs=1100)


def test_a_silent_clip_goes_without(clips):
    item = prepared(clips, "silent.mp4")
    assert [m.encoder for m in item.media] == ["video"] and item.failed == ()
    batch = Collator(0)([item, prepared(clips, "low.mp4")])
    assert batch["media"]["audio"]["item"].tolist() == [[-1], [0]]
    assert batch["media"]["video"]["item"].tolist() == [[1, 1], [1, 1]]


def test_a_marker_stays_with_its_clip(clips):
    item = prepared(clips, "low.mp4", prompt="say <media> dark")
    assert item.media_positions.tolist() == [0, 1]  # the sound in front, the clip at its marker


def test_a_broken_clip_is_an_error_all_the_same(clips):
    failed = prepared(clips, "broken.mp4")
    assert isinstance(failed, Failed) and failed.kind == "unreadable"


def test_a_sound_may_be_a_video_file(clips):
    part = {"type": "audio", "path": str(clips / "high.mkv")}
    assert pitch(np.asarray(Sound()(part)[0]), RATE) == pytest.approx(900, abs=5)
