"""The contract of mmadapt: length, ids, samples in any order, workers, damaged records."""

from mmadapt.testing import SourceContract
from mmadapt_example.source import ExampleConfig, ExampleSource


class TestExample(SourceContract):
    source = ExampleSource

    def config(self):
        return self.written("a.png\ta red ball", "a.png\ta dog", "a.png\ttwo cats")

    def damaged(self):
        return self.written("a.png\ta red ball", "a dog without a picture"), ["data.txt", "2"]

    def written(self, *lines):
        (self.folder / "a.png").write_bytes(b"a picture")
        path = self.folder / "data.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        return ExampleConfig(path=str(path))
