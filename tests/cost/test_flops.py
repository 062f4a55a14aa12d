"""The formulas of the cost model, against what torch counts in a real step: equal."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from mmadapt.bench import Options, Workload
from mmadapt.recipe import load_recipe, resolve
from mmadapt.weights import resolve_model
from tests.cost.table import FLOORS, compare

EVLM = {"use": "evlm", "num_levels": 2, "head_dim": 16, "num_tokens": 3}
EPALM = {"use": "epalm", "levels": 2, "start": 3, "prompt_at": "start", "prompt_length": 4}
FUSIONS = {
    "adem": {"use": "adem", "scales": [[4, 4], [2, 2]], "cls": False, "bottleneck": None},
    "evlm": {**EVLM, "keep_cls": True},
    "evlm-grid": {**EVLM, "keep_cls": False},
    "epalm": {**EPALM, "prompt_mlp": True},
    "epalm-plain": {**EPALM, "prompt_mlp": False},
    "prefix": {"use": "prefix", "keep_cls": False},
    "prefix-cls": {"use": "prefix", "keep_cls": True},
}


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    """The embedded LM with queries wider than itself and fewer keys, so that no widths agree."""
    folder, place = tmp_path_factory.mktemp("lm"), resolve_model("embedded:lm")
    config = AutoConfig.from_pretrained(place, head_dim=48, num_key_value_heads=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(place).save_pretrained(folder)
    return str(folder)


def recipe(name, lm):
    return resolve(
        load_recipe(
            {
                "name": name,
                "lm": {"model": lm},
                "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
                "fusion": FUSIONS[name],
                "head": {"use": "caption"},
            }
        )
    )


@pytest.mark.parametrize("items", [1, 3])
def test_formulas_are_what_torch_counts(items, lm):
    workload = Workload(2, 8, 3, items, vocabulary=40)
    options = Options(workload, FLOORS, decode_batch_sizes=())
    rows = compare([recipe(name, lm) for name in FUSIONS], options)
    assert {name: formula / count for name, formula, count in rows} == dict.fromkeys(
        [*FLOORS, *FUSIONS], 1.0
    )
