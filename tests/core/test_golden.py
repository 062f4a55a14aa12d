"""An adapter saved in format 1 gives what it gave then, and a later format is told before all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mmadapt.adapters.files import BASES, FORMAT_VERSION, RECIPE
from mmadapt.composition import load
from mmadapt.data.inputs import collate_prompts
from mmadapt.errors import AdapterError
from mmadapt.evaluate import evaluate_adapter

FORMAT1 = Path(__file__).parents[1] / "golden" / "format1"
EXPECTED = json.loads((FORMAT1 / "expected.json").read_text())  # see golden/make_format1.py


@pytest.fixture(scope="module")
def model():
    return load(FORMAT1)


def test_it_says_of_each_picture_what_it_shows(model):
    files = [str(FORMAT1 / name) for name in EXPECTED]
    answers = model.generate(image=files, max_new_tokens=24, num_beams=1)
    assert answers == [one["answer"] for one in EXPECTED.values()]
    assert answers == [one["truth"] for one in EXPECTED.values()]


@torch.no_grad()
def test_its_first_logits(model):
    for name, one in EXPECTED.items():
        sample = {"id": name, "media": [{"type": "image", "path": str(FORMAT1 / name)}]}
        batch = collate_prompts([sample], model.head, model.tokenizer, model.processors)
        wanted = ("input_ids", "attention_mask", "media", "media_positions")
        given = {key: batch[key] for key in wanted if key in batch}
        logits = model(**given, return_logits="all").logits[0, -1]
        torch.testing.assert_close(logits, torch.tensor(one["logits"]), rtol=0, atol=2e-4)


@pytest.mark.parametrize("function", [load, evaluate_adapter])
def test_a_later_format_is_told_before_its_recipe_is_read(tmp_path, function):
    shutil.copytree(FORMAT1, tmp_path / "adapter")
    bases = json.loads((tmp_path / "adapter" / BASES).read_text())
    bases["format_version"] = FORMAT_VERSION + 1
    (tmp_path / "adapter" / BASES).write_text(json.dumps(bases))
    (tmp_path / "adapter" / RECIPE).write_text("of: a later time\n")
    with pytest.raises(AdapterError, match=r"has format 2; this mmadapt reads 1: upgrade it"):
        function(tmp_path / "adapter")
