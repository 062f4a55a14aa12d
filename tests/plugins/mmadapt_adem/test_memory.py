"""The memory of one encoder: tables, several items, padding, samples without media."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmadapt.contracts import EncoderInfo
from mmadapt.types import Features
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.memory import EncoderMemory, interpolate, item_places

TOKENS, E, D = 5, 6, 8


def make(num_items: int = 1, **options: Any) -> EncoderMemory:
    torch.manual_seed(0)
    config = AdemConfig(**{"scales": [(2, 2), (1, 1)], "cls": False, "beta": 1.0, **options})
    memory = EncoderMemory(config, EncoderInfo("video", E, 2, num_items), D, D)
    for parameter in memory.parameters():
        torch.nn.init.normal_(parameter)
    return memory


def features(item: list[list[int]], seed: int = 0) -> Features:
    items = torch.tensor(item)
    values = torch.randn(*items.shape, TOKENS, E, generator=torch.Generator().manual_seed(seed))
    return Features((values,), torch.ones(*items.shape, TOKENS, dtype=torch.bool), items)


def test_tables_start_as_published() -> None:
    config = AdemConfig(scales=[(16, 16), (8, 8)])
    memory = EncoderMemory(config, EncoderInfo("video", E, 2, 8), 64, 64)
    assert memory.key_table.shape == (1, 320, 64) and memory.item_key_table.shape == (8, 64)
    assert memory.key_table.std().item() == pytest.approx(0.02, rel=0.05)
    assert memory.value_table.abs().sum() == memory.item_value_table.abs().sum() == 0
    bound = (6 / (E + 128)) ** 0.5  # Xavier-uniform
    assert memory.projector.fc1.weight.abs().max().item() == pytest.approx(bound, rel=0.05)
    assert memory.projector.fc1.bias.abs().sum() == memory.projector.fc2.bias.abs().sum() == 0


def test_one_item_has_no_item_table() -> None:
    assert {name.split(".")[0] for name, _ in make().named_parameters()} == {
        "projector",
        "key_table",
        "value_table",
    }
    assert not any("table" in name for name, _ in make(4, tables=False).named_parameters())


def test_equations_for_a_clip() -> None:
    memory, given = make(3, beta=0.5), features([[0, 0, 0]])
    keys, values, mask = memory(given)
    projected = 0.5 * memory.projector(given.levels[0])
    position = memory.key_table + memory.item_key_table[None, :, None]
    torch.testing.assert_close(
        keys, torch.nn.functional.silu(projected + position).flatten(1, 2), rtol=0, atol=1e-5
    )
    position = memory.value_table + memory.item_value_table[None, :, None]
    torch.testing.assert_close(values, (projected + position).flatten(1, 2), rtol=0, atol=1e-5)
    assert mask.shape == (1, 15) and mask.all()


def test_padded_items_and_tokens_leave_nothing() -> None:
    memory, given = make(2), features([[0, 0, 0], [0, -1, -1]])
    given.levels[0][1, 1:] = torch.nan
    given.mask[0, 2, 4] = False
    given.levels[0][0, 2, 4] = torch.nan
    keys, values, mask = memory(given)
    assert mask.sum(dim=1).tolist() == [14, 5]
    assert values[~mask].abs().sum() == 0 and keys.isfinite().all()
    (keys.sum() + values.sum()).backward()
    assert all(p.grad.isfinite().all() for p in memory.parameters())
    alone = memory(features([[0]]))
    mixed = Features(
        (torch.cat([given.levels[0][:1], features([[0, -1, -1]], 3).levels[0]]),),
        given.mask,
        given.item,
    )
    mixed.levels[0][1, :1] = features([[0]]).levels[0][0]
    for one, several in zip(alone, memory(mixed), strict=True):
        torch.testing.assert_close(several[1, :5], one[0, :5])


@pytest.mark.parametrize("num_items", [1, 3])
def test_no_media_is_the_same_in_every_batch(num_items: int) -> None:
    """The tables act alone, whatever stands beside the sample."""
    memory = make(num_items)
    nothing = memory(None)
    assert nothing[0].shape == (1, num_items * TOKENS, D) and nothing[2].all()
    torch.testing.assert_close(nothing[1][0, :TOKENS], _values_of_tables(memory))
    for item in ([[0, 1, 1, 1, 1], [-1] * 5], [[0], [-1]]):
        keys, values, mask = memory(features(item))
        assert mask[1].sum() == num_items * TOKENS
        torch.testing.assert_close(keys[1][mask[1]], nothing[0][0], rtol=0, atol=1e-6)
        torch.testing.assert_close(values[1][mask[1]], nothing[1][0], rtol=0, atol=1e-6)


def _values_of_tables(memory: EncoderMemory) -> torch.Tensor:
    first = memory.value_table[0]
    return first + memory.item_value_table[0] if memory.num_items > 1 else first


def test_sum_is_divided_by_the_items() -> None:
    given = features([[0, 0, 0, -1], [0, -1, -1, -1]])
    plain, divided = make(4)(given)[1], make(4, normalize_items=True)(given)[1]
    torch.testing.assert_close(divided, plain / torch.tensor([3.0, 1.0])[:, None, None])


def test_item_tables_serve_other_numbers_of_items() -> None:
    table = torch.arange(8.0)[:, None] ** 2
    same = interpolate(table, item_places(torch.zeros(1, 8, dtype=torch.long), 8))
    assert torch.equal(same[0], table)
    fewer = item_places(torch.zeros(1, 4, dtype=torch.long), 8)
    assert fewer.tolist() == [[0.5, 2.5, 4.5, 6.5]]
    assert interpolate(table, fewer).flatten().tolist() == [0.5, 6.5, 20.5, 42.5]
    more = item_places(torch.zeros(1, 16, dtype=torch.long), 8)
    assert more[0, 0] == 0 and more[0, -1] == 7 and (more.diff() >= 0).all()
    one = item_places(torch.tensor([[0, 1, 1, -1]]), 8)
    assert one[0, :3].tolist() == [3.5, 1.5, 5.5]
