import time
from collections import Counter

import numpy as np
import pytest

from mmadapt.data.pairing import Pool, pair


def paired(says, groups=None, seed=0):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(says)).tolist()
    partner = list(range(len(says)))
    sets = [frozenset(texts if isinstance(texts, tuple) else (texts,)) for texts in says]
    without = pair(order, groups or [0] * len(says), sets, partner, rng)
    return partner, without, sets


@pytest.mark.parametrize("seed", range(5))
def test_partners_say_something_else_and_are_rarely_used_twice(seed):
    rng = np.random.default_rng(seed)
    says = [tuple(rng.choice([f"t{i}" for i in range(40)], 3).tolist()) for _ in range(400)]
    groups = rng.integers(3, size=400).tolist()
    partner, without, sets = paired(says, groups, seed)
    assert without == []
    assert all(
        sets[i].isdisjoint(sets[j]) and groups[i] == groups[j] for i, j in enumerate(partner)
    )
    assert Counter(partner).most_common(1)[0][1] <= 3 and len(set(partner)) >= 390
    assert partner == paired(says, groups, seed)[0] != paired(says, groups, seed + 1)[0]


def test_a_partner_is_used_again_only_where_no_unused_one_fits():
    partner, without, _ = paired(["x"] * 6 + ["y"] * 3)
    assert without == []
    assert sorted(partner[6:]) == sorted(set(partner[6:]))  # of six there are enough for three
    assert set(partner[:6]) == {6, 7, 8}  # all of the three before any is used again


def test_who_has_no_partner_is_told():
    partner, without, _ = paired([("x", "y"), ("x",), ("y",), ("x", "z")])
    assert set(without) == {0} and partner[0] == 0
    assert set(partner[1:]) <= {2, 1, 3}
    assert sorted(paired(["x"] * 4)[1]) == [0, 1, 2, 3]


def test_a_removed_sample_is_not_drawn_again():
    pool, rng = Pool(range(5), [frozenset({str(i)}) for i in range(5)]), np.random.default_rng(0)
    seen = []
    while (found := pool.draw(frozenset({"none"}), rng)) is not None:
        pool.remove(found)
        seen.append(found)
    assert sorted(seen) == list(range(5)) and not any(pool.holders.values())


UNEVEN = {
    "all differ": [f"t{i}" for i in range(40_000)],
    "60 % say the same": ["same" if i % 5 < 3 else f"t{i}" for i in range(40_000)],
    "60 % share one of two": [
        ("shared", f"t{i}") if i % 5 < 3 else (f"t{i}",) for i in range(40_000)
    ],
    "all share one of two": [("shared", f"t{i}") for i in range(40_000)],
}


@pytest.mark.parametrize("name", UNEVEN)
def test_forty_thousand_samples_take_seconds(name):
    began = time.process_time()
    paired(UNEVEN[name])
    assert time.process_time() - began < 10  # all pairs: over a minute
