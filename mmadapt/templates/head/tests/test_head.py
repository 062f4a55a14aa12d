"""The contract of mmadapt: prompts, labels, targets, answers, tokenizers, workers."""

import numpy as np

from mmadapt.testing import HeadContract
from mmadapt_example.head import ExampleConfig, ExampleHead


class TestExample(HeadContract):
    def make(self):
        return ExampleHead(ExampleConfig())

    def samples(self):
        picture = {"type": "image", "path": "a.png"}
        return [
            {"id": "s1", "references": ["a red ball", "a ball"], "media": [picture]},
            {"id": "s2", "prompt": "look : <media> shows", "target": "a dog", "media": [picture]},
            {"id": "s3", "prompt": "nothing to see :", "target": "nothing", "media": []},
        ]


def test_targets_vary_in_training_only():
    head, rng = ExampleHead(ExampleConfig()), np.random.default_rng(0)
    sample = {"id": "1", "references": ["a red ball", "a ball"]}
    assert {head.target(sample, rng) for _ in range(20)} == {"a red ball", "a ball"}
    assert {head.target(sample) for _ in range(20)} == {"a red ball"}
