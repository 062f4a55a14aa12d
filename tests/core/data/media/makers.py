"""Small real files: every video frame has its own index painted on it, in black and white bits."""

from fractions import Fraction

import av
import numpy as np

BITS = 8


def paint(index, height=32, width=128):
    """A frame whose vertical bars are the bits of `index`, the lowest leftmost."""
    bars = np.repeat([(index >> bit) & 1 for bit in range(BITS)], width // BITS)
    return np.broadcast_to(bars[None, :, None] * 255, (height, width, 3)).astype(np.uint8)


def index_of(frame):
    """Reads the index from a frame of any size."""
    height, width = frame.shape[:2]
    centres = (np.arange(BITS) * 2 + 1) * width // (2 * BITS)
    return int(sum((frame[height // 2, x, 0] > 128) << bit for bit, x in enumerate(centres)))


def indices_of(clip):
    return [index_of(frame) for frame in clip.frames]


def write_video(
    path,
    count=20,
    codec="libx264",
    fps=10,
    gop=None,
    times_ms=None,
    rotation=None,
    options=None,
    frames=None,
    container_options=None,
    sound=None,
):
    """Encodes `count` indexed frames (or the given ones) at a fixed rate or at given times."""
    frames = [paint(i) for i in range(count)] if frames is None else frames
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options={"threads": "1", **(options or {})})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        if gop:
            stream.codec_context.gop_size = gop
        if rotation:
            stream.set_display_rotation(rotation)
        if times_ms:
            stream.codec_context.time_base = Fraction(1, 1000)
        audio = (
            container.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        )
        for i, pixels in enumerate(frames):
            frame = as_frame(pixels, stream.pix_fmt)
            if times_ms:
                frame.pts, frame.time_base = times_ms[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            write_sound(container, audio, sound)
    return path


def as_frame(pixels, pixel_format):
    """A frame to encode; one thread, since PyAV's own threads must not outlive a fork."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(format=pixel_format, threads=1)


def write_sound(container, stream, waveform):
    """Encodes a float waveform, (samples,) or (channels, samples), into an open container."""
    rate, waveform = stream.codec_context.sample_rate, np.atleast_2d(waveform)
    for at in range(0, waveform.shape[1], 1024):
        block = np.ascontiguousarray(waveform[:, at : at + 1024], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def tone(seconds, rate, hertz=440.0, amplitude=0.5):
    """A sine, float32."""
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def pitch(waveform, rate):
    """The strongest frequency of a waveform in Hz."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum) * rate / len(waveform))
