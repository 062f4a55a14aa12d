import numpy as np

from mmadapt.caching.plan import plan_split
from mmadapt.data.features.contents import Contents
from mmadapt.data.features.reader import FeatureReader
from mmadapt.data.features.store import FeatureStore
from mmadapt.data.views import InMemory


def test_samples_are_counted_by_what_their_media_are(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    store, sets = FeatureStore(tmp_path / "cache", 10**6), {"image": {"fusion": "1" * 20}}
    reader = FeatureReader(store, Contents(None), sets, sets)
    array = {"type": "image", "value": np.zeros((4, 4, 3), np.uint8)}
    file = {"type": "image", "path": str(tmp_path / "a")}
    media = [[array], [array], [file], [], [file], [file, array]]
    source = InMemory([{"id": str(n), "media": parts} for n, parts in enumerate(media)])
    plan = plan_split("train", source, reader, {"image": "image"}, progress=False)
    assert (plan.uncached, plan.present, list(plan.missing)) == (3, 0, [2])
