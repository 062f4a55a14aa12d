"""The contracts of heads and metrics."""

from mmadapt.testing import HeadContract, MetricContract
from mmadapt_classify.head import ClassifyConfig, ClassifyHead
from mmadapt_classify.metrics import Accuracy, MacroF1

SOUND = {"type": "audio", "path": "x.wav"}


class TestClassify(HeadContract):
    def make(self):
        return ClassifyHead(ClassifyConfig(classes=["a cat", "a big dog", "rain"]))

    def samples(self):
        return [
            {"id": "one", "target": "rain", "media": [SOUND]},
            {"id": "two", "prompt": "hear: <media>", "answers": ["a big dog"], "media": [SOUND]},
        ]


class TestChoices(TestClassify):
    """The classes are each sample's own, and it asks a question."""

    def make(self):
        return ClassifyHead(ClassifyConfig(prompt="question: {question} answer:", score="mean"))

    def samples(self):
        asked = [("what is it?", ["a cat", "a dog"]), ("where?", ["here", "there"])]
        return [
            {"id": f"s{n}", "prompt": q, "choices": c, "references": c[1:], "media": [SOUND]}
            for n, (q, c) in enumerate(asked)
        ]


class TestAccuracy(MetricContract):
    metric = Accuracy


class TestMacroF1(MetricContract):
    metric = MacroF1
