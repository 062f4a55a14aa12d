"""The contracts of heads and metrics."""

from mmadapt.testing import HeadContract, MetricContract
from mmadapt_choice.config import ChoiceConfig
from mmadapt_choice.head import ChoiceHead
from mmadapt_choice.scienceqa import Scienceqa

IMAGE = {"type": "image", "path": "x.png"}


class TestLetter(HeadContract):
    def make(self):
        return ChoiceHead(ChoiceConfig())

    def samples(self):
        choices = ["a cat", "an owl", "a bee"]
        return [
            {
                "id": "one",
                "prompt": "Which flies at night?",
                "choices": choices,
                "answers": ["an owl"],
                "media": [IMAGE],
                "meta": {"hint": "It sees well."},
            },
            {"id": "two", "prompt": "Which purrs?", "choices": choices, "target": "a cat"},
        ]


class TestWithoutLead(TestLetter):
    def make(self):
        return ChoiceHead(ChoiceConfig(lead="", pattern=r"answer is\s*([A-Z])", separator=""))


class TestLikelihoodOfLetters(TestLetter):
    def make(self):
        return ChoiceHead(ChoiceConfig(answer="likelihood"))


class TestLikelihoodOfOptions(TestLetter):
    def make(self):
        return ChoiceHead(ChoiceConfig(answer="likelihood", target="{text}", option="{text}"))


class TestScienceqa(MetricContract):
    metric = Scienceqa
