"""The contracts of heads and metrics."""

from mmadapt.testing import HeadContract, MetricContract
from mmadapt_vqa.exact_match import ExactMatch, ExactMatchConfig
from mmadapt_vqa.head import VqaConfig, VqaHead
from mmadapt_vqa.metric import VqaAccuracy
from tests.plugins.mmadapt_vqa.test_head import EPALM

IMAGE = {"type": "image", "path": "x.png"}


class TestVqa(HeadContract):
    def make(self):
        return VqaHead(VqaConfig())

    def samples(self):
        people = ["a cat"] * 7 + ["cat", "2 dogs", "2 dogs"]
        return [
            {"id": "one", "prompt": "what is it?", "answers": people, "media": [IMAGE]},
            {
                "id": "two",
                "prompt": "is <media> like <media>?",
                "target": "no",
                "media": [IMAGE] * 2,
            },
            {"id": "none", "prompt": "why (not)?", "references": ["no idea"]},
        ]


class TestEpalm(TestVqa):
    learns_prompt = True

    def make(self):
        return VqaHead(EPALM)


class TestVqaAccuracy(MetricContract):
    metric = VqaAccuracy


class TestExactMatch(MetricContract):
    metric = ExactMatch


class TestVqaExactMatch(MetricContract):
    metric = ExactMatch

    def config(self):
        return ExactMatchConfig(normaliser="vqa")


class TestPlainExactMatch(MetricContract):
    metric = ExactMatch

    def config(self):
        return ExactMatchConfig(normaliser="none")
