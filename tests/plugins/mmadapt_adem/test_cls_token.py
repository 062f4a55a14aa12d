"""Where prefix and CLS tokens stand in the text."""

from __future__ import annotations

import torch
from torch import Tensor

from mmadapt.types import TextInputs
from mmadapt_adem.cls_token import insert_cls

BOS = 1


def text(rows: list[list[int]], positions: list[list[int]]) -> TextInputs:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, given in zip(ids, rows, strict=True):
        row[: len(given)] = torch.tensor(given)
    return TextInputs(ids, ids > 0, ids.clone(), torch.tensor(positions).view(len(rows), -1))


def read(inputs: TextInputs, name: str = "adem") -> list[list[int | float]]:
    """Each row's real tokens: an id, or the first number of a CLS embedding."""
    rows = []
    for b, row in enumerate(inputs.input_ids):
        shown: list[int | float] = []
        for s, token in enumerate(row.tolist()):
            own = name in inputs.spans and inputs.spans[name][b, s] > 0
            if own:
                assert inputs.embeds is not None
                shown.append(inputs.embeds[b, s, 0].item())
            elif inputs.attention_mask[b, s]:
                shown.append(token)
        rows.append(shown)
    return rows


def embeds(*numbers: list[float]) -> Tensor:
    return torch.tensor(numbers)[..., None].expand(-1, -1, 4)


def insert(
    inputs: TextInputs, item: list[list[int]], cls: Tensor, bos: int | None = BOS
) -> TextInputs:
    items = {"image": torch.tensor(item)}
    return insert_cls(inputs, "adem", items, {"image": cls}, {"image": [50, 51]}, [60], bos)


def test_after_bos_and_prefix_or_the_text_of_no_media() -> None:
    done = insert(text([[BOS, 5, 6], [BOS, 7]], [[1], [-1]]), [[0], [-1]], embeds([0.5], [0.25]))
    assert read(done) == [[BOS, 50, 51, 0.5, 5, 6], [BOS, 60, 7]]
    assert done.labels is not None
    assert [row[row != -100].tolist() for row in done.labels] == [[BOS, 5, 6], [BOS, 7, 0]]


def test_at_the_marker_and_in_the_order_of_the_files() -> None:
    given = text([[BOS, 5, 6, 7], [BOS, 8, 9]], [[1, 3], [2, 2]])
    done = insert(given, [[0, 1], [0, 1]], embeds([0.5, 0.25], [0.75, 0.125]))
    assert read(done) == [
        [BOS, 50, 51, 0.5, 5, 6, 50, 51, 0.25, 7],
        [BOS, 8, 50, 51, 0.75, 50, 51, 0.125, 9],
    ]


def test_items_of_one_file_stand_together() -> None:
    given = text([[BOS, 5], [BOS, 6]], [[1], [1]])
    done = insert(given, [[0, 0, 0], [0, -1, -1]], embeds([0.5, 0.25, 0.75], [0.125, 9, 9]))
    assert read(done) == [[BOS, 50, 51, 0.5, 0.25, 0.75, 5], [BOS, 50, 51, 0.125, 6]]


def test_text_without_bos_and_padding_on_the_left() -> None:
    given = text([[0, 7, 8]], [[-1]])
    assert read(insert(given, [[-1]], embeds([0.5]))) == [[60, 7, 8]]
    given = text([[0, BOS, 8]], [[-1]])
    assert read(insert(given, [[-1]], embeds([0.5]))) == [[BOS, 60, 8]]
    assert read(insert(given, [[-1]], embeds([0.5]), bos=None)) == [[60, BOS, 8]]


def test_files_without_a_position_stand_after_bos() -> None:
    given = text([[BOS, 7]], [[]])
    assert read(insert(given, [[0]], embeds([0.5]))) == [[BOS, 50, 51, 0.5, 7]]
    given = text([[BOS, 7], [BOS, 8]], [[0], [-1]])
    done = insert(given, [[0, 1], [-1, -1]], embeds([0.5, 0.25], [9, 9]))
    assert read(done) == [[BOS, 50, 51, 0.5, 50, 51, 0.25, 7], [BOS, 60, 8]]


def test_a_batch_without_any_media() -> None:
    given = text([[BOS, 7], [BOS, 8]], [[], []])
    done = insert_cls(given, "adem", {}, {}, {}, [60, 61], BOS)
    assert read(done) == [[BOS, 60, 61, 7], [BOS, 60, 61, 8]]
    assert done.embeds is None


def test_two_encoders_share_one_prefix() -> None:
    items = {"a": torch.tensor([[0]]), "b": torch.tensor([[0]])}
    cls = {"a": embeds([0.5]), "b": embeds([0.25])}
    ids = {"a": [50], "b": [51]}
    done = insert_cls(text([[BOS, 7]], [[1]]), "adem", items, cls, ids, [60], BOS)
    assert read(done) == [[BOS, 50, 0.5, 0.25, 7]]
