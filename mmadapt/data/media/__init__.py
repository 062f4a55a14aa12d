"""Media files: videos, sounds and pictures, read in a process that may hang or crash."""

from mmadapt.data.media.audio import read_audio
from mmadapt.data.media.convert import as_frames, as_image, as_waveform
from mmadapt.data.media.image import read_image
from mmadapt.data.media.video import VideoClip, read_video

__all__ = [
    "VideoClip",
    "as_frames",
    "as_image",
    "as_waveform",
    "read_audio",
    "read_image",
    "read_video",
]
