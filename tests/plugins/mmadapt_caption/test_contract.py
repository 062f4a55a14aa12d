"""The contracts of heads and metrics."""

from mmadapt.testing import HeadContract, MetricContract
from mmadapt_caption.head import CaptionConfig, CaptionHead
from mmadapt_caption.metrics import Bleu, Cider, ExactMatch, RougeL

CLIP = {"type": "video", "path": "x.mp4"}


class TestCaption(HeadContract):
    def make(self):
        return CaptionHead(CaptionConfig())

    def samples(self):
        return [
            {"id": "one", "target": "a red ball", "media": [CLIP]},
            {"id": "own", "prompt": "say:", "references": ["a dog runs"], "media": [CLIP] * 2},
            {"id": "mark", "prompt": "in <media> see", "target": "a dog, 2 cats", "media": [CLIP]},
        ]


class TestEpalmCaption(TestCaption):
    """The published loss: everything but BOS is learnt."""

    learns_prompt = True

    def make(self):
        return CaptionHead(CaptionConfig(learn_prompt=True, loss="sum_per_sample", loss_scale=0.1))


class TestCider(MetricContract):
    metric = Cider
    best = 10.0


class TestBleu(MetricContract):
    metric = Bleu


class TestRougeL(MetricContract):
    metric = RougeL


class TestExactMatch(MetricContract):
    metric = ExactMatch
