"""What a dry run says of data: shown with the label mask, missing, or wrong."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from mmadapt.checking.dry_run import dry_run
from mmadapt.errors import DataError
from mmadapt.recipe import load_recipe

PARTS = {
    "name": "parts",
    "lm": {"model": "embedded:lm"},
    "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
    "fusion": {"use": "prefix"},
    "head": {"use": "caption", "prompt": "a picture of"},
}


@pytest.fixture
def report(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def of(**splits):
        for name, texts in (("a", ["a red circle"] * 4), ("b", ["a blue cross", " "])):
            lines = [json.dumps({"image": "a.png", "caption": text}) for text in texts]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        data = {key: _placed(part, tmp_path) for key, part in splits.items()}
        return dry_run(load_recipe({**PARTS, "data": data}))

    return of


def _placed(part, folder):
    if isinstance(part, list):
        return [_placed(one, folder) for one in part]
    return {"use": "jsonl", **part, "path": str(folder / part["path"])}


def test_three_samples_show_what_is_learnt(report):
    shown = report(train={"path": "a.jsonl"}).previews
    assert [text[0] for text in shown] == ["1", "2", "3"]
    assert "a picture of [a red circle" in shown[0] and shown[0].endswith("learnt)")


def test_of_a_mixture_every_part_is_shown(report, tmp_path):
    (tmp_path / "c.jsonl").write_text('{"image": null, "caption": "a green star"}')
    shown = report(train=[{"path": "a.jsonl"}, {"path": "c.jsonl"}]).previews
    assert [("red" in text, "green" in text) for text in shown] == [(1, 0), (0, 1), (1, 0)]


def test_what_is_missing_is_a_note_for_each_split(report, tmp_path):
    found = report(train={"path": "no.jsonl"}, test={"path": "a.jsonl"}, validation={"path": "no"})
    assert found.previews == ["skipped: no training data here"]
    said = [note for note in found.notes if note.startswith("data.")]
    assert [note.split(",")[0] for note in said] == [
        "data.train is missing here",
        "data.validation is missing here",
    ]
    assert f"note: data.train is missing here, so it was not checked: {tmp_path}" in str(found)
    assert found.obstacles[0] == f"data.train is missing: {tmp_path / 'no.jsonl'}"
    assert found.verdict.endswith("no.jsonl (and 1 more)")


def test_of_a_relative_path_the_folder_is_told_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"train": {"use": "jsonl", "path": "data/no.jsonl"}}
    found = dry_run(load_recipe({**PARTS, "data": data}))
    assert found.obstacles == ["data.train is missing: data/no.jsonl"]
    assert found.notes[-1].endswith(f"; looked for in the current folder, {tmp_path}")


def test_where_all_data_are_here_nothing_stands_in_the_way(report):
    assert report(train={"path": "a.jsonl"}).verdict == "ok"


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_here_and_wrong_is_an_error(report, split):
    splits = {"train": {"path": "a.jsonl"}, split: {"path": "b.jsonl"}}
    with pytest.raises(DataError, match=r"b\.jsonl:2: has an empty caption"):
        report(**splits)


def test_a_sample_that_cannot_fit_is_an_error_in_trainings_words(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    record = {"image": ["a.png"] * 40, "caption": "a red circle"}
    (tmp_path / "long.jsonl").write_text(json.dumps(record))
    data = {"train": {"use": "jsonl", "path": str(tmp_path / "long.jsonl")}}
    said = r"long\.jsonl:1: has \d+ tokens .* of media\); at most 256 fit; its media alone"
    with pytest.raises(DataError, match=said):
        dry_run(load_recipe({**PARTS, "data": data}))
    left_out = dry_run(load_recipe({**PARTS, "data": {**data, "too_long": "skip"}}))
    assert "too long: left out" in left_out.previews[0]
    few = {**PARTS, "fusion": {"use": "adem", "scales": [[2, 2]]}, "data": data}
    assert "learnt" in dry_run(load_recipe(few)).previews[0]  # nothing is inserted


def test_words_that_the_lm_does_not_know_are_warned_of(report, tmp_path):
    assert not any("warning" in line for line in report(train={"path": "a.jsonl"}).previews)
    (tmp_path / "c.jsonl").write_text('{"image": "a.png", "caption": "an owl asleep on a branch"}')
    warned = report(train={"path": "c.jsonl"}).previews[-1]
    assert warned.startswith("warning: ") and "<unk>" in warned
