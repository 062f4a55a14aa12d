"""The contract that every encoder keeps."""

from mmadapt.testing import EncoderContract
from mmadapt_vision.config import VideoConfig, VitConfig, VitFramesConfig
from mmadapt_vision.frames import VitFramesEncoder
from mmadapt_vision.video import VideoEncoder
from mmadapt_vision.vit import VitEncoder
from tests.plugins.mmadapt_vision.tiny_vision import save_model


class Vision(EncoderContract):
    name = "vit"

    def weights(self):
        save_model(self.name, self.folder)
        return str(self.folder)


class TestVit(Vision):
    encoder = VitEncoder

    def config(self):
        return VitConfig(model=self.weights(), augment="randaugment")


class TestDinoWithRegisters(TestVit):
    name = "dinov2_with_registers"


class TestFrames(Vision):
    name = "clip_tower"
    encoder = VitFramesEncoder

    def config(self):
        return VitFramesConfig(
            model=self.weights(), num_frames=3, sampling="segment", augment="flip_crop"
        )


class TestTimesformer(Vision):
    name = "timesformer"
    encoder = VideoEncoder

    def config(self):
        return VideoConfig(model=self.weights())


class TestVideoMae(TestTimesformer):
    name = "videomae"


class TestVivitSlots(TestTimesformer):
    name = "vivit"

    def config(self):
        return VideoConfig(model=self.weights(), layout="slots")
