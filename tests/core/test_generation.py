"""What a head asks of generation."""

from types import SimpleNamespace

import pytest

from mmadapt.generation import _with_stops


@pytest.mark.parametrize(
    ("own", "stops", "options", "expected"),
    [
        (2, [], {}, {}),
        (2, [2], {}, {}),
        (2, [5], {"num_beams": 3}, {"num_beams": 3, "eos_token_id": [2, 5]}),
        ([2, 7], [5], {}, {"eos_token_id": [2, 5, 7]}),
        (None, [5], {}, {"eos_token_id": [5]}),
        (2, [5], {"eos_token_id": 9}, {"eos_token_id": 9}),
    ],
)
def test_generation_also_stops_where_the_head_says(own, stops, options, expected):
    model = SimpleNamespace(
        head=SimpleNamespace(stop_ids=lambda tokenizer: stops),
        lm=SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=own)),
        require_tokenizer=lambda: None,
    )
    assert _with_stops(model, options) == expected
