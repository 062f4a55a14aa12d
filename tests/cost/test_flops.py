"""The formulas of the cost model, against what torch counts in a real step: equal."""

import pytest

from mmadapt.bench import Options, Workload
from mmadapt.recipe import load_recipe, resolve
from tests.cost.table import FLOORS, compare

FUSIONS = {
    "adem": {"use": "adem", "scales": [[4, 4], [2, 2]], "cls": False, "bottleneck": None},
    "evlm": {"use": "evlm", "num_levels": 2, "head_dim": 16, "num_tokens": 3},
    "epalm": {"use": "epalm", "levels": 2, "start": 3, "prompt_at": "start", "prompt_length": 4},
    "prefix": {"use": "prefix"},
}


def recipe(name):
    return resolve(
        load_recipe(
            {
                "name": name,
                "lm": {"model": "embedded:lm"},
                "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
                "fusion": FUSIONS[name],
                "head": {"use": "caption"},
            }
        )
    )


@pytest.mark.parametrize("items", [1, 3])
def test_formulas_are_what_torch_counts(items):
    workload = Workload(2, 8, 3, items, vocabulary=40)
    options = Options(workload, FLOORS, decode_batch_sizes=())
    rows = compare([recipe(name) for name in FUSIONS], options)
    assert {name: formula / count for name, formula, count in rows} == dict.fromkeys(
        [*FLOORS, *FUSIONS], 1.0
    )
