"""The contract that every source keeps."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from PIL import Image

from mmadapt.testing import SourceContract
from mmadapt_datasets.webdataset import WebdatasetConfig, WebdatasetSource
from tests.plugins.mmadapt_datasets.published import ALL


class TestPublished(SourceContract):
    """As published, and with a first file that is no text."""

    fewest = 1

    @pytest.fixture(autouse=True, params=sorted(ALL))
    def _published(self, request):
        self.data = ALL[request.param]()

    @property
    def source(self):
        return self.data.source

    def config(self):
        return self.source.Config(**self.data.write(self.folder))

    def damaged(self):
        config, name = self.config(), next(iter(self.data.files))
        path = self.folder / name
        path.write_bytes(b"\xff\x00" + path.read_bytes())
        return config, [path.name]


class TestWebdataset(SourceContract):
    source = WebdatasetSource

    def config(self):
        return self.written({"said": "one"}, {"said": "two"}, {"said": "three"})

    def damaged(self):
        return self.written({"said": "one"}, {"says": "two"}), ["a.tar", "k1"]

    def written(self, *records):
        picture = io.BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        path = self.folder / "a.tar"
        with tarfile.open(path, "w") as archive:
            for i, record in enumerate(records):
                texts = json.dumps(record).encode()
                for name, data in (("png", picture.getvalue()), ("json", texts)):
                    info = tarfile.TarInfo(f"k{i}.{name}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        return WebdatasetConfig(shards=str(path), columns={"image": "png", "target": "said"})


class TestHf(SourceContract):
    """Rows of a table on disk."""

    def config(self):
        return self.written("one", "two", "three")

    def damaged(self):
        return self.written("one", "", "three"), ["saved", "1"]

    def written(self, *texts):
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_dict({"said": texts}).save_to_disk(self.folder / "saved")
        return self.source.Config(path=str(self.folder / "saved"), columns={"target": "said"})

    @property
    def source(self):
        from mmadapt_datasets.hf import HfSource

        return HfSource
