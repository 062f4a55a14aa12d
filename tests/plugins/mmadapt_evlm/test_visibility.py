"""Who sees which item: codes and tables by hand, then through a whole LM."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmadapt.types import TextInputs
from mmadapt_evlm.tokens import insert_tokens
from mmadapt_evlm.visibility import visibility, visible_keys
from tests.plugins.mmadapt_evlm.makers import images, model_of
from tests.tiny import TinyEncoder

# text, 2 tokens of item 0, 2 of item 1 (the same file), text, 2 of item 2, text
SPAN = torch.tensor([[0, 1, 2, 3, 4, 0, 5, 6, 0, 0]])
FILE = torch.tensor([[0, 0, 1]])
ORDER = torch.tensor([[0, 1, 2]])


def rows(visible):
    codes, table = visibility(SPAN, FILE, ORDER, 2, visible)
    beyond = torch.full((1, 1), table.shape[1] - 1)
    codes = torch.cat([codes, beyond], dim=1)
    seen = visible_keys(codes, table, torch.arange(3), torch.ones(1, 3, dtype=torch.bool))[0]
    return [tuple(row.nonzero().squeeze(1).tolist()) for row in seen]


@pytest.mark.parametrize(
    ("visible", "after_video", "after_image"),
    [
        ("video_all", (0, 1), (2,)),
        ("immediate", (1,), (2,)),
        ("all_previous", (0, 1), (0, 1, 2)),
    ],
)
def test_tokens_see_their_own_item_and_text_what_is_asked_for(visible, after_video, after_image):
    own = [(0,), (0,), (1,), (1,)]
    expected = [(), *own, after_video, (2,), (2,), *[after_image] * 3]
    assert rows(visible) == expected


def test_padded_keys_are_never_seen():
    codes, table = visibility(SPAN, FILE, ORDER, 2, "all_previous")
    real = torch.tensor([[True, False, True]])
    seen = visible_keys(codes, table, torch.arange(3), real)
    assert not seen[0, :, 1].any() and seen[0, :, 0].any()


@pytest.mark.parametrize("visible", ["video_all", "immediate", "all_previous"])
def test_absent_items_are_never_seen(visible):
    span = torch.tensor([[0, 3, 4, 0], [1, 2, 0, 0]])
    file = torch.tensor([[0, -1], [0, -1]])
    order = torch.tensor([[1, 0], [0, 1]])
    _, table = visibility(span, file, order, 2, visible)
    assert not table[:, [0, 3, 4, 5], 1][:, [0, 1, 3]].any()
    assert table[:, -1, 0].all()  # what is generated sees the item that is there


def moved(visible, change, files, positions, length=12, **options):
    """Positions whose first gated layer changes what it returns when item `change` does."""
    model = model_of(visible=visible, every=4, **options).eval()
    media = images(3, files=[files])
    outputs = []
    block = model.fusions["evlm"].blocks["3"]
    handle = block.register_forward_hook(lambda _, args, result: outputs.append(result[0][0]))
    ids, at = torch.arange(4, 4 + length)[None], torch.tensor([positions])
    with torch.no_grad():
        output = model(ids, media={"image": media}, media_positions=at)
        media["values"] = media["values"].clone()
        media["values"][0, change] += 1.0
        model(ids, media={"image": media}, media_positions=at)
    handle.remove()
    difference = (outputs[0] - outputs[1]).abs().amax(dim=1)
    span = output.text.spans["evlm"][0]
    return difference > 0, span


@pytest.mark.parametrize(
    ("visible", "expected"), [("video_all", range(5, 10)), ("all_previous", None)]
)
def test_another_second_image_moves_only_the_rows_that_may_see_it(visible, expected):
    # Every layer before the last is untouched (every=4), so the first gated layer tells all.
    rows_moved, span = moved(visible, 1, [0, 1, 2], [1, 3, 6])
    # 0 text | 1 2 image 0 | 3 4 text | 5 6 image 1 | 7 8 9 text | 10 11 image 2 | 12-17 text
    assert span.nonzero().squeeze(1).tolist() == [1, 2, 5, 6, 10, 11]
    wanted = list(expected) if expected is not None else [5, 6, 7, 8, 9, *range(12, 18)]
    assert rows_moved.nonzero().squeeze(1).tolist() == wanted


def test_frames_of_a_video_are_all_seen_by_the_text_behind_it():
    # 0 text | 1 2 frame 0 | 3 4 frame 1 | 5 6 7 text | 8 9 image | 10- text
    for frame, own in ((0, [1, 2]), (1, [3, 4])):
        rows_moved, _ = moved("video_all", frame, [0, 0, 1], [1, 4], length=8)
        assert rows_moved.nonzero().squeeze(1).tolist() == [*own, 5, 6, 7]
    rows_moved, _ = moved("immediate", 0, [0, 0, 1], [1, 4], length=8)
    assert rows_moved.nonzero().squeeze(1).tolist() == [1, 2]


def test_levels_joined_for_every_layer_keep_their_items_apart():
    rows_moved, _ = moved("video_all", 1, [0, 1, 2], [1, 3, 6], levels="concat")
    assert rows_moved.nonzero().squeeze(1).tolist() == [5, 6, 7, 8, 9]


def test_items_of_two_encoders_are_kept_apart():
    encoders = {"image": TinyEncoder(), "video": TinyEncoder(width=16, items=2)}
    model = model_of(encoders=encoders, every=4).eval()
    outputs, block = [], model.fusions["evlm"].blocks["3"]
    block.register_forward_hook(lambda _, args, result: outputs.append(result[0][0]))
    media = {"image": images(1, files=[[0]]), "video": images(2, files=[[1, 1]], width=16)}
    call = {"media": media, "media_positions": torch.tensor([[1, 3]])}
    with torch.no_grad():
        model(torch.arange(4, 10)[None], **call)
        media["video"]["values"] = (
            media["video"]["values"] + torch.tensor([0.0, 1.0])[:, None, None]
        )
        model(torch.arange(4, 10)[None], **call)
    rows_moved = ((outputs[0] - outputs[1]).abs().amax(dim=1) > 0).nonzero().squeeze(1)
    # 0 text | 1 2 image | 3 4 text | 5 6 frame 0 | 7 8 frame 1 | 9 10 11 text
    assert rows_moved.tolist() == [7, 8, 9, 10, 11]


def test_tokens_never_stand_in_the_padding():
    text = TextInputs(
        torch.arange(4, 9)[None],
        torch.tensor([[False, False, True, True, True]]),
        None,
        torch.tensor([[-1]]),
    )
    for positions in (text.media_positions, text.media_positions[:, :0]):
        text = replace(text, media_positions=positions)
        inserted = insert_tokens(text, "evlm", torch.tensor([[0]]), torch.ones(1, 2, 3))
        assert inserted.spans["evlm"].tolist() == [[0, 0, 1, 2, 0, 0, 0]]


def test_files_of_two_encoders_at_one_column_stand_in_the_order_of_the_files():
    encoders = {"image": TinyEncoder(), "video": TinyEncoder(width=16, items=2)}
    model = model_of(encoders=encoders, share_tokens=False).eval()
    media = {"image": images(1, files=[[1]]), "video": images(2, files=[[0, 0]], width=16)}
    with torch.no_grad():
        model.fusions["evlm"].tokens["image"].fill_(1.0)
        model.fusions["evlm"].tokens["video"].fill_(2.0)
        text = model(
            torch.arange(4, 9)[None], media=media, media_positions=torch.ones(1, 2).long()
        ).text
    assert text.embeds[0, :, 0].tolist() == [0, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0]
