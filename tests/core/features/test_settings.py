import json
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from mmadapt.features.settings import Nameless, settings_of


class Colour(Enum):
    RED = "red"


@dataclass
class Rule:
    size: tuple[int, int]


class Options(BaseModel):
    fps: float = 2.0


class Holder:
    def __init__(self, **values):
        self.__dict__.update(values)


def told(value):
    return json.dumps(settings_of(value), sort_keys=True)


def test_equal_settings_are_equal_text():
    def made():
        return Holder(
            rule=Rule((2, 3)),
            options=Options(),
            window=np.arange(4.0),
            weights=torch.ones(3, dtype=torch.bfloat16).float(),
            names={"b", "a"},
            colour=Colour.RED,
            call=np.hanning,
        )

    assert told(made()) == told(made())


@pytest.mark.parametrize(
    "one, other",
    [
        (Rule((2, 3)), Rule((3, 2))),
        (Options(), Options(fps=3)),
        (Holder(a=1), Holder(b=1)),
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3, dtype=np.float32)),
        (torch.zeros(2), torch.ones(2)),
        (b"1", "1"),
        (partial(int, base=2), partial(int, base=3)),
        ({"a": 1}, {"a": 2}),
        (np.hanning, np.hamming),
        (Holder(a=[1, 2]).__init__, Holder(a=[2, 1]).__init__),
    ],
)
def test_other_settings_are_another_text(one, other):
    assert told(one) != told(other)


def test_what_has_no_name_is_refused():
    ring = Holder()
    ring.own = ring
    for value in (lambda: 1, ring, partial(lambda: 1), object()):
        with pytest.raises(Nameless):
            settings_of(Holder(value=value) if value is not ring else ring)


def test_tensors_of_every_type_have_a_name_and_others_are_nameless():
    half = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    assert told(half) == told(half.clone()) != told(half + 1)
    assert told(half) != told(half.float()) and told(half[:0]) != told(torch.zeros(0))
    assert told(torch.arange(3.0)) == told(np.arange(3, dtype=np.float32))
    for value in (torch.zeros(2, device="meta"), torch.eye(2).to_sparse()):
        with pytest.raises(Nameless, match=r"tensor of torch\.float32"):
            settings_of(value)
