"""The encoders are announced, and announcing them imports no torch."""

from __future__ import annotations

import subprocess
import sys

from mmadapt.contracts import Encoder
from mmadapt.registry import get_registry
from mmadapt_vision.config import VideoConfig, VitConfig, VitFramesConfig


def test_the_encoders_are_announced_and_load():
    configs = {"vit": VitConfig, "vit_frames": VitFramesConfig, "video": VideoConfig}
    for name, config in configs.items():
        loaded = get_registry().get("encoder", name).load()
        assert issubclass(loaded, Encoder) and loaded.Config is config


def test_announcing_imports_no_torch():
    code = "import sys, mmadapt_vision.plugin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
