"""The encoders are announced, and announcing them imports no torch."""

from __future__ import annotations

import subprocess
import sys

from mmadapt.contracts import Encoder
from mmadapt.registry import get_registry
from mmadapt_audio.config import AstConfig, WhisperConfig


def test_the_encoders_are_announced_and_load():
    for name, config in {"ast": AstConfig, "whisper": WhisperConfig}.items():
        loaded = get_registry().get("encoder", name).load()
        assert issubclass(loaded, Encoder) and loaded.Config is config


def test_announcing_imports_no_torch():
    code = "import sys, mmadapt_audio.plugin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
