"""Every head and fusion answers the same in batches of 1, 3 and 8, on the embedded models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmadapt.composition import compose
from mmadapt.contracts import Metric, MetricResult
from mmadapt.data.views import InMemory
from mmadapt.evaluate import evaluate
from mmadapt.registry import get_registry

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
FUSIONS = {
    "adem": {"use": "adem", "scales": [[4, 4], [2, 2]], "bottleneck": None},
    "epalm": {"use": "epalm"},
    "evlm": {"use": "evlm", "num_levels": 2, "num_tokens": 2, "head_dim": 8},
    "prefix": {"use": "prefix", "connector": "linear", "pool": [4, 4]},
}
COLOURS = ["red", "green", "blue", "a white circle"]
HEADS = {
    "caption": {"prompt": "a picture of"},
    "vqa": {},
    "classify": {},
    "choice": {"answer": "likelihood", "target": "{text}"},
    "chat": {"chat_template": TEMPLATE},
}


class Nothing(Metric):
    """Scores nothing: answers are what is compared."""

    def __init__(self) -> None:
        super().__init__(None)
        self.count = 0

    def update(self, sample, answer):
        self.count += 1

    def compute(self):
        return MetricResult({"nothing": 0.0}, [0.0] * self.count)


def samples():
    rng = np.random.default_rng(0)
    words = ["what", "colour", "is", "the", "shape", "?"]
    return [
        {
            "id": f"s{number}",
            "prompt": " ".join(words[: 2 + number % 5]),
            "media": [
                {"type": "image", "value": rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)}
                for _ in range(number % 3)
            ],
            "choices": COLOURS,
            "references": ["red"],
        }
        for number in range(9)
    ]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_batch_size_changes_no_answer(fusion):
    model = compose(
        lm="embedded:lm",
        encoders={"image": {"use": "vit", "model": "embedded:vit"}},
        fusion=FUSIONS[fusion],
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter += 0.3 * torch.randn_like(parameter)
    said: set[str] = set()
    for name, options in HEADS.items():
        cls = get_registry().get("head", name).load()
        model.head = cls(cls.Config(**options))
        found = [
            evaluate(
                model,
                InMemory(samples()),
                {"nothing": Nothing},
                batch_size=size,
                generate={"max_new_tokens": 4},
                description=None,
            )
            for size in (1, 3, 8)
        ]
        answers = [[one["answer"] for one in result.predictions] for result in found]
        assert answers[0] == answers[1] == answers[2], name
        said |= set(answers[0])
        assert found[0].settings == found[2].settings
    assert len(said) > 4
