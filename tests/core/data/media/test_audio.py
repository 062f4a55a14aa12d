import av
import numpy as np
import pytest
import soundfile

from mmadapt.data.media import audio, read_audio
from mmadapt.data.media.decode import audio as operation
from mmadapt.data.media.decode import waveform as bounds
from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.errors import MediaError
from tests.core.data.media.makers import pitch, tone, write_sound, write_video

RATE = 16000


def failure(path, **arguments):
    with pytest.raises(MediaError) as caught:
        read_audio(path, **{"sampling_rate": RATE, **arguments})
    error = caught.value
    assert error.path == path and str(error).startswith(f"{path}: cannot read audio: ")
    assert error.advice
    return error.reason


def steps(rate, seconds=4):
    """A sine whose pitch tells the second: 300, 600, 900, … Hz."""
    return np.concatenate([tone(1, rate, 300.0 * (i + 1)) for i in range(seconds)])


def write_m4a(path, waveform, rate, layout="mono"):
    with av.open(str(path), "w") as container:
        write_sound(container, container.add_stream("aac", rate=rate, layout=layout), waveform)
    return path


@pytest.fixture(params=["soundfile", "pyav"])
def backend(request, monkeypatch):
    if request.param == "pyav":
        monkeypatch.setattr(audio, "BACKENDS", ("pyav",))
    return request.param


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_any_format_comes_at_the_wanted_rate(tmp_path, backend, suffix, channels, rate):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(1, rate)] * channels, axis=1), rate)
    waveform = read_audio(path, sampling_rate=RATE)
    assert waveform.dtype == np.float32
    padding = {"mp3": 0.07, "ogg": 0.03}.get(suffix, 0)  # PyAV keeps or drops an end block
    assert waveform.shape == pytest.approx((RATE,), abs=max(1, padding * RATE))
    assert pitch(waveform[:RATE], RATE) == pytest.approx(440, abs=2)
    assert np.abs(waveform[2000:14000]).max() == pytest.approx(0.5, abs=0.06)


WIDE = [
    (suffix, channels, rate)
    for suffix, rates, most in (
        ("wav", (8000, 11025, 48000, 96000), 6),
        ("flac", (8000, 22050, 96000), 6),
        ("ogg", (11025, 48000), 6),
        ("mp3", (16000, 32000, 48000), 2),
        ("m4a", (8000, 22050, 48000, 96000), 6),
    )
    for rate in rates
    for channels in (1, 2, 6)
    if channels <= most
]


@pytest.mark.parametrize(("suffix", "channels", "rate"), WIDE)
def test_rates_and_channels(tmp_path, suffix, channels, rate):
    """A tone of equal strength on every channel keeps pitch, length and strength."""
    path, sound = tmp_path / f"a.{suffix}", np.stack([tone(1, rate)] * channels, axis=1)
    if suffix == "m4a":
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        write_m4a(path, sound.T, rate, layout)
    else:
        soundfile.write(path, sound, rate)
    for mono, shape in ((True, ()), (False, (channels,))):
        waveform = read_audio(path, sampling_rate=RATE, mono=mono)
        assert waveform.shape[:-1] == shape
        assert waveform.shape[-1] == pytest.approx(RATE, abs=0.14 * RATE)  # blocks of AAC and mp3
        tones = [heard[3000:12000] for heard in waveform.reshape(-1, waveform.shape[-1])]
        pure = [part for part in tones if pitch(part, RATE) == pytest.approx(440, abs=3)]
        # 440 Hz may be too high for the subwoofer of a lossy codec
        may_miss = not mono and channels == 6 and suffix in ("ogg", "m4a")
        assert len(tones) - may_miss <= len(pure) <= len(tones)
        for part in pure:
            assert np.sqrt(2) * part.std() == pytest.approx(0.5, abs=0.1)


def test_samples_at_the_files_own_rate_are_exact(tmp_path, backend):
    expected = np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", expected, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", sampling_rate=RATE), expected)


def test_channels_are_averaged_or_kept(tmp_path, backend):
    left, right = tone(1, RATE, 300.0), tone(1, RATE, 700.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    mixed = read_audio(tmp_path / "a.wav", sampling_rate=RATE)
    np.testing.assert_allclose(mixed, (left + right) / 2, atol=1e-6)
    both = read_audio(tmp_path / "a.wav", sampling_rate=RATE, mono=False)
    np.testing.assert_array_equal(both, [left, right])
    half = read_audio(tmp_path / "a.wav", sampling_rate=RATE // 2, mono=False)
    assert half.shape == (2, RATE // 2)


def test_m4a(tmp_path):
    path = write_m4a(tmp_path / "a.m4a", tone(1, 44100), 44100)
    waveform = read_audio(path, sampling_rate=RATE)
    assert len(waveform) == pytest.approx(RATE, abs=1500)
    assert pitch(waveform, RATE) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_of_a_video(tmp_path, suffix):
    path = write_video(tmp_path / f"talk.{suffix}", sound=tone(2, 16000))
    waveform = read_audio(path, sampling_rate=8000)
    assert len(waveform) == pytest.approx(16000, abs=1200)
    assert pitch(waveform[:8000], 8000) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
def test_start_and_end(tmp_path, backend, name):
    path = tmp_path / name
    if name == "a.m4a":
        write_m4a(path, steps(44100), 44100)
    else:
        soundfile.write(path, steps(44100), 44100)
    part = read_audio(path, sampling_rate=RATE, start=1.1, end=1.9)
    assert len(part) == pytest.approx(0.8 * RATE, abs=2)
    assert pitch(part, RATE) == pytest.approx(600, abs=3)
    rest = read_audio(path, sampling_rate=RATE, start=3.1, end=99.0)
    assert pitch(rest, RATE) == pytest.approx(1200, abs=3)
    assert len(rest) == pytest.approx(0.9 * RATE, abs=0.1 * RATE)


def test_part_of_a_wav_is_exact(tmp_path, backend):
    expected = np.random.default_rng(0).uniform(-1, 1, 4 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", expected, RATE, subtype="FLOAT")
    part = read_audio(tmp_path / "a.wav", sampling_rate=RATE, start=1.25, end=2.5)
    np.testing.assert_array_equal(part, expected[20000:40000])


def test_max_seconds(tmp_path, backend):
    soundfile.write(tmp_path / "a.wav", steps(8000), 8000)
    part = read_audio(tmp_path / "a.wav", sampling_rate=8000, start=1.0, max_seconds=1.0)
    assert len(part) == 8000 and pitch(part, 8000) == pytest.approx(600, abs=2)
    short = read_audio(tmp_path / "a.wav", sampling_rate=8000, start=1.0, end=1.5, max_seconds=9)
    assert len(short) == 4000
    assert len(read_audio(tmp_path / "a.wav", sampling_rate=8000, max_seconds=99)) == 32000


def test_resampling_follows_torchaudio(tmp_path):
    import torch
    from torchaudio.functional import resample

    sound = tone(1, 44100)
    soundfile.write(tmp_path / "a.wav", sound, 44100, subtype="FLOAT")
    expected = resample(torch.from_numpy(sound), 44100, RATE).numpy()
    actual = read_audio(tmp_path / "a.wav", sampling_rate=RATE)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_nothing_there(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, RATE), RATE)
    assert failure(tmp_path / "a.wav", start=2.0) == "there is no sound after 2 s"
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    assert "no samples" in failure(tmp_path / "none.wav")
    assert failure(tmp_path / "no.wav") == "no such file"


def test_video_without_sound(tmp_path):
    assert failure(write_video(tmp_path / "a.mp4")) == "it has no sound track"


def test_no_sound_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(np.random.default_rng(0).bytes(20_000))
    assert "not an audio file, or it is damaged" in failure(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("nothing to hear\n" * 99)
    assert "not an audio file" in failure(tmp_path / "a.txt")
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    assert "not an audio file" in failure(tmp_path / "a.raw")


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac", "mp3", "m4a"])
def test_cut_file(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE * 6).astype(np.float32)
    if suffix == "m4a":
        write_m4a(path, noise, RATE)
    else:
        soundfile.write(path, noise, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert any(word in failure(path) for word in ("damaged", "cut short", "Invalid data"))


def test_a_part_before_the_cut_is_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(6, RATE), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(read_audio(path, sampling_rate=RATE, end=2.5)) == 2.5 * RATE
    assert "its data end at 3.00 s of the 4.00 s" in failure(path, start=1.0, end=4.0)


def test_a_streamed_wav_that_could_not_know_its_size(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, RATE), RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data")
    data[4:8] = data[place + 4 : place + 8] = b"\xff" * 4
    path.write_bytes(data)
    assert len(read_audio(path, sampling_rate=RATE)) == RATE


def test_samples_that_are_no_numbers(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0, np.nan, 1.0]), RATE, subtype="FLOAT")
    assert "not finite" in failure(tmp_path / "a.wav")


@pytest.mark.parametrize("backend", ["soundfile", "pyav"])
def test_too_long(tmp_path, monkeypatch, backend):
    soundfile.write(tmp_path / "a.wav", tone(3, 8000), 8000)
    monkeypatch.setattr(bounds, "MAX_AUDIO_SECONDS", 2.0)
    wanted = {"path": str(tmp_path / "a.wav"), "backends": [backend], "start": None, "end": None}
    wanted |= {"max_seconds": None, "mono": True}
    with pytest.raises(Unreadable, match="lasts 3 s; one read returns at most 2 s"):
        operation.read(wanted)
    assert operation.read({**wanted, "max_seconds": 1.5})[1].shape == (12000,)
    monkeypatch.setattr(bounds, "MAX_CLIP_BYTES", 1000)
    with pytest.raises(Unreadable, match="at most"):
        operation.read({**wanted, "max_seconds": 1.5})


def test_a_decoder_that_is_not_installed_is_skipped(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(1, 8000), 8000)
    monkeypatch.setitem(operation.BACKENDS, "soundfile", "no_such_module")
    wanted = {"path": str(tmp_path / "a.wav"), "start": None, "end": None, "max_seconds": None}
    header, sound = operation.read({**wanted, "mono": True, "backends": ["soundfile", "pyav"]})
    assert header["backend"] == "pyav" and len(sound) == 8000


@pytest.mark.parametrize(
    "arguments", [{"sampling_rate": 0}, {"max_seconds": 0.0}, {"max_seconds": float("nan")}]
)
def test_arguments_that_cannot_be(tmp_path, arguments):
    with pytest.raises(ValueError, match="must be"):
        read_audio(tmp_path / "a.wav", **{"sampling_rate": RATE, **arguments})
