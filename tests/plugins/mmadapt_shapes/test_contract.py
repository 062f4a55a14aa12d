"""The contract that every source keeps."""

from __future__ import annotations

import pytest

from mmadapt.testing import SourceContract
from mmadapt_shapes.source import ShapesConfig, ShapesSource


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path / "cache"))


class TestPictures(SourceContract):
    source = ShapesSource

    def config(self):
        return ShapesConfig(split="test", media="image", count=4)


class TestQuestions(TestPictures):
    def config(self):
        return ShapesConfig(split="train", media="image", task="vqa", count=5)


class TestIncompleteClips(TestPictures):
    def config(self):
        return ShapesConfig(split="validation", media="audio_video", count=3, missing=0.5)
