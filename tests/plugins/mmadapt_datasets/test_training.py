"""Every published layout, from files to two steps of training and scores."""

import pytest

from mmadapt.train import train
from tests.plugins.mmadapt_datasets.published import ALL

TEMPLATE = "{% for m in messages %}{{ m.role }} : {{ m.content }} </s> {% endfor %}"
ENCODERS = {
    "image": {"use": "vit", "model": "embedded:vit"},
    "video": {"use": "vit_frames", "model": "embedded:vit", "num_frames": 2},
    "audio": {"use": "ast", "model": "embedded:ast"},
}
CAPTION = {"use": "caption", "prompt": "a picture of"}
VQA = {"use": "vqa"}
CASES = {
    "coco": ("image", CAPTION, "cider"),
    "karpathy": ("image", CAPTION, "cider"),
    "vqav2": ("image", VQA, "vqa_accuracy"),
    "gqa": ("image", VQA, "exact_match"),
    "scienceqa": ("image", {"use": "choice"}, "scienceqa"),
    "llava": ("image", {"use": "chat", "chat_template": TEMPLATE}, "rouge_l"),
    "lavin": ("image", CAPTION, "rouge_l"),
    "msrvtt": ("video", CAPTION, "bleu"),
    "msrvtt_qa": ("video", VQA, "accuracy"),
    "msvd_qa": ("video", VQA, "accuracy"),
    "audiocaps": ("audio", CAPTION, "cider"),
    "clotho": ("audio", CAPTION, "cider"),
}


@pytest.mark.parametrize("name", ALL)
def test_two_steps_and_scores(tmp_path, name):
    dataset = ALL[name]()
    kind, head, metric = CASES[name]
    part = {"use": dataset.use, **dataset.write(tmp_path)}
    result = train(
        {
            "name": name.replace("_", "-"),
            "lm": {"model": "embedded:lm"},
            "encoders": {kind: ENCODERS[kind]},
            "fusion": {"use": "epalm", "levels": 2},
            "head": head,
            "data": {"train": part, "test": part},
            "train": {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 0.01},
            "evaluate": {"metrics": [metric], "generate": {"max_new_tokens": 3}},
        },
        tmp_path / "run",
        quiet=True,
    )
    assert result["steps"] == 2 and result["train_loss"] > 0 and result["failed"] == []
    samples = dataset.source(dataset.source.Config(**{k: v for k, v in part.items() if k != "use"}))
    assert [p["id"] for p in result["predictions"]] == [sample["id"] for sample in samples]
    assert all(0 <= value <= 10 for value in result["metrics"].values()) and result["metrics"]
