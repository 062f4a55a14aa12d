"""What a head asks of generation."""

from types import SimpleNamespace

import pytest
import torch

from mmadapt.contracts import Fusion, Head
from mmadapt.errors import DataError
from mmadapt.generation.answers import _with_stops
from mmadapt.model import MultimodalModel
from mmadapt.testing.tiny import TinyEncoder, context, tiny_lm


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


class Idle(Fusion):
    def __init__(self, context):
        super().__init__(None, context)
        self.weight = torch.nn.Parameter(torch.zeros(1))


def tiny_model():
    lm, encoders = tiny_lm("opt"), {"image": TinyEncoder()}
    return MultimodalModel(lm, None, encoders, [Idle(context(lm, encoders))], Head(None))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_length": 2}, "`max_length` is set to 2"),
        ({"forced_eos_token_id": 99999, "max_new_tokens": 1}, "out of bounds"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "trust_remote_code"),
        ({"eos_token_id": "text"}, "invalid data type"),
    ],
)
def test_what_transformers_refuses_is_one_error(options, said):
    with pytest.raises(DataError, match="^generate: transformers refuses the options: .*" + said):
        tiny_model().generate_batch(torch.tensor([[5, 6, 7]]), **options)


def test_an_error_of_a_forward_pass_stays_as_it_is():
    model = tiny_model()
    model.lm.lm_head.register_forward_pre_hook(lambda *_: [][0])
    with pytest.raises(IndexError, match="list index"):
        model.generate_batch(torch.tensor([[5, 6, 7]]))
