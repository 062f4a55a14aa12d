"""The contract that every source keeps."""

from __future__ import annotations

import numpy as np
import soundfile

from mmadapt.testing import SourceContract
from mmadapt_fsdd.source import FsddConfig, FsddSource


class TestFsdd(SourceContract):
    source = FsddSource

    def config(self):
        (self.folder / "recordings").mkdir()
        for digit in range(4):
            path = self.folder / "recordings" / f"{digit}_lucas_{digit}.wav"
            soundfile.write(path, np.zeros(400, np.float32), 8000)
        return FsddConfig(path=str(self.folder))
