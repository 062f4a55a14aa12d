"""Insertion into texts against a slow model on lists, and the state that hooks read."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import torch

from mmadapt.types import Features, State, TextInputs

D = 3


@dataclass(eq=False)
class Token:
    """One column of one row; media files hold on to the token before which they stand."""

    id: int
    real: bool = True
    label: int = -100
    embed: tuple[float, ...] = (0.0,) * D
    span: dict[str, int] = field(default_factory=dict)
    positionless: bool = False


class SlowText:
    """What `TextInputs` is, as lists of tokens; the last entry of a row is the end of the text."""

    def __init__(self, rows, files):
        self.rows = [[*row, Token(-1)] for row in rows]
        self.files = [
            [None if at < 0 else self.rows[r][at] for at in row] for r, row in enumerate(files)
        ]
        self.counts = {}

    def insert(self, name, at, embeds, ids, present, positionless):
        first = self.counts.get(name, 0)
        if embeds is not None:
            self.counts[name] = first + len(at[0])
        for r, row in enumerate(self.rows):
            before = {}
            for k, column in enumerate(at[r]):
                token = Token(0, present[r][k], positionless=positionless)
                if embeds is not None:
                    token.embed = tuple(embeds[r][k])
                    token.span = {name: first + k + 1} if present[r][k] else {}
                else:
                    token.id = ids[r][k]
                before.setdefault(column, []).append(token)
            merged = []
            for column, token in enumerate(row):
                merged += [*before.get(column, []), token]
            self.rows[r] = merged

    def pad(self, left):
        for r, row in enumerate(self.rows):
            real = [token for token in row[:-1] if token.real]
            pads = [token for token in row[:-1] if not token.real]
            self.rows[r] = [*(pads + real if left else real + pads), row[-1]]

    def assert_equals(self, text):
        names = {name for row in self.rows for token in row for name in token.span}
        for r, row in enumerate(self.rows):
            tokens = row[:-1]
            assert text.input_ids[r].tolist() == [token.id for token in tokens]
            assert text.attention_mask[r].tolist() == [token.real for token in tokens]
            assert text.labels[r].tolist() == [token.label for token in tokens]
            if text.positionless is not None:
                assert text.positionless[r].tolist() == [token.positionless for token in tokens]
            if text.embeds is not None:
                assert text.embeds[r].tolist() == [list(token.embed) for token in tokens]
            for name in names:
                found = [token.span.get(name, 0) for token in tokens]
                assert text.spans[name][r].tolist() == found
            places = [-1 if file is None else row.index(file) for file in self.files[r]]
            assert text.media_positions[r].tolist() == places


def random_text(rng):
    batch, length, files = rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 3)
    rows = [
        [
            Token(rng.randint(4, 90), rng.random() < 0.8, rng.choice([-100, 5]))
            for _ in range(length)
        ]
        for _ in range(batch)
    ]
    columns = [[rng.randint(-1, length) for _ in range(files)] for _ in range(batch)]
    fast = TextInputs(
        torch.tensor([[token.id for token in row] for row in rows]),
        torch.tensor([[token.real for token in row] for row in rows]),
        torch.tensor([[token.label for token in row] for row in rows]),
        torch.tensor(columns),
    )
    return SlowText(rows, columns), fast


def insert_both(rng, slow, fast):
    batch, length = fast.input_ids.shape
    count, name = rng.randint(1, 4), rng.choice("ab")
    at = [[rng.randint(0, length) for _ in range(count)] for _ in range(batch)]
    present = [[rng.random() < 0.7 for _ in range(count)] for _ in range(batch)]
    positionless, as_embeds = rng.random() < 0.5, rng.random() < 0.6
    ids = [[rng.randint(4, 90) for _ in range(count)] for _ in range(batch)]
    embeds = [[[float(rng.randint(1, 9))] * D for _ in range(count)] for _ in range(batch)]
    slow.insert(
        name, at, embeds if as_embeds else None, None if as_embeds else ids, present, positionless
    )
    return fast.insert(
        name,
        torch.tensor(at),
        present=torch.tensor(present),
        positionless=positionless,
        **({"embeds": torch.tensor(embeds)} if as_embeds else {"ids": torch.tensor(ids)}),
    )


@pytest.mark.parametrize("seed", range(60))
def test_insertions_agree_with_lists(seed):
    rng = random.Random(seed)
    slow, fast = random_text(rng)
    for _ in range(rng.randint(1, 4)):
        fast = insert_both(rng, slow, fast)
        slow.assert_equals(fast)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("seed", range(30))
def test_padding_moves_agree_with_lists(seed, left):
    rng = random.Random(seed)
    slow, fast = random_text(rng)
    fast = insert_both(rng, slow, insert_both(rng, slow, fast))
    for row, files in zip(slow.rows, slow.files, strict=True):
        for k, file in enumerate(files):  # a file before a pad has no place among real tokens
            if file is not None and not (file.real and file is not row[-1]):
                files[k] = None
    fast.media_positions[:] = torch.tensor(
        [
            [-1 if file is None else row.index(file) for file in files]
            for row, files in zip(slow.rows, slow.files, strict=True)
        ]
    )
    slow.pad(left)
    slow.assert_equals(fast.padded_left() if left else fast.padded_right())


def plain(*rows):
    """Texts of ids; 0 is padding."""
    ids = torch.tensor(rows)
    return TextInputs(ids, ids > 0, None, torch.zeros(len(rows), 1, dtype=torch.long))


def test_a_file_at_the_end_stays_at_the_end_when_padding_moves_left():
    text = plain([5, 6, 7], [5, 0, 0])
    text.media_positions[:] = 3
    assert text.padded_left().media_positions.tolist() == [[3], [3]]


def test_inputs_are_not_changed_in_place():
    text = plain([5, 6])
    text.insert("a", torch.tensor([[1]]), ids=torch.tensor([[9]]))
    assert text.input_ids.tolist() == [[5, 6]]
    assert text.spans == {} and text.positionless is None


def test_positions_count_real_tokens_that_take_one():
    text = plain([0, 5, 6, 7]).insert(
        "a", torch.tensor([[2]]), embeds=torch.ones(1, 1, D), positionless=True
    )
    state = State(text)
    assert text.input_ids.tolist() == [[0, 5, 0, 6, 7]]
    assert state.position_ids(5).tolist() == [[0, 0, 0, 1, 2]]
    assert state.position_ids(5, pad=-1).tolist() == [[-1, 0, 0, 1, 2]]
    state.past_len = 5
    assert state.position_ids(2).tolist() == [[3, 4]]
    state.past_len = 4
    assert state.position_ids(3, pad=-1).tolist() == [[2, 3, 4]]


def test_columns_and_spans_follow_the_cache():
    text = plain([5, 6, 7]).insert("a", torch.tensor([[1, 3]]), embeds=torch.ones(1, 2, D))
    state = State(text, past_len=3)
    assert state.span("a", 3).tolist() == [[0, 2, 0]]
    assert state.span("nobody", 3).tolist() == [[0, 0, 0]]
    assert state.columns(text.input_ids, 4, beyond=-7).tolist() == [[7, 0, -7, -7]]
    state.past_len = 9
    assert state.span("a", 1).tolist() == [[0]]


def test_beams_stand_next_to_their_sample():
    text = plain([5, 6], [7, 8]).insert("a", torch.tensor([[0], [1]]), embeds=torch.ones(2, 1, D))
    memories = {"a": {"own": torch.tensor([[1.0], [2.0]]), "shared": torch.ones(1, 4), "n": 3}}
    state = State(text, memories).expand(3)
    assert state.batch_size == 6
    assert state.text.input_ids[:, 2].tolist() == [6, 6, 6, 8, 8, 8]
    assert state.span("a", 3).tolist() == [[1, 0, 0]] * 3 + [[0, 1, 0]] * 3
    assert state.memories["a"]["own"].flatten().tolist() == [1, 1, 1, 2, 2, 2]
    assert state.memories["a"]["shared"].shape == (1, 4) and state.memories["a"]["n"] == 3
    assert state.expand(1) is state


def test_features_know_who_has_media():
    features = Features((), torch.ones(3, 2, 1), torch.tensor([[0, 1], [-1, -1], [0, -1]]))
    assert features.has_media.tolist() == [True, False, True]
