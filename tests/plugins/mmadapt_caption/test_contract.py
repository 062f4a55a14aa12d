"""The contracts of heads and metrics."""

from functools import cache

import pytest

from mmadapt.errors import MissingDependency
from mmadapt.testing import HeadContract, MetricContract
from mmadapt_caption import meteor
from mmadapt_caption.head import CaptionConfig, CaptionHead
from mmadapt_caption.java import java
from mmadapt_caption.meteor import Meteor
from mmadapt_caption.metrics import Bleu, CaptionMetricConfig, Cider, RougeL

CLIP = {"type": "video", "path": "x.mp4"}


def has_java():
    try:
        return bool(java("a test"))
    except MissingDependency:
        return False


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


@pytest.fixture(scope="class")
def one_program():
    """The Java program is started once, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meteor, "Process", cache(meteor.Process))
        yield


@pytest.mark.skipif(not has_java(), reason="no Java here: pip install 'mmadapt[java]'")
@pytest.mark.usefixtures("one_program")
class TestMeteor(MetricContract):
    metric = Meteor


@pytest.mark.skipif(not has_java(), reason="no Java here: pip install 'mmadapt[java]'")
class TestCiderOfPtbTokens(TestCider):
    def config(self):
        return CaptionMetricConfig(tokenizer="ptb")
