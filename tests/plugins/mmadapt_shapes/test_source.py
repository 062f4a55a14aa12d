"""The source: samples of the contract, with rendered files behind them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from mmadapt_shapes.source import ShapesConfig, ShapesSource
from mmadapt_shapes.world import combinations, split_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path))
    return tmp_path


def source(**options):
    return ShapesSource(ShapesConfig(**{"split": "test", "count": 6, **options}))


@pytest.mark.parametrize("media", ["video", "image", "audio", "audio_video"])
@pytest.mark.parametrize("task", ["caption", "vqa"])
def test_samples_keep_the_contract(media, task):
    samples = list(source(media=media, task=task))
    assert len(samples) == 6
    assert len({sample["id"] for sample in samples}) == 6
    for sample in samples:
        assert [part["type"] for part in sample["media"]] == media.split("_")[::-1]
        assert all(Path(part["path"]).is_file() for part in sample["media"])
        assert sample["references"] == [sample["target"]] == sample["answers"]


def test_building_renders_nothing_and_reading_renders_once(cache):
    built = source()
    assert len(built) == 6 and not list(cache.iterdir())
    first = built[0]
    assert len(list(cache.rglob("*.mp4"))) == 6
    assert source()[0] == first


def test_captions_leave_the_prompt_to_the_head():
    sample = source()[0]
    meta = sample["meta"]
    assert sample["prompt"] is None and sample["choices"] is None
    assert sample["target"] == f"a {meta['colour']} {meta['shape']} {meta['motion']}"


def test_both_are_named_and_both_are_held_out():
    for sample in source(media="audio_video", count=20):
        meta = sample["meta"]
        clip = {name: meta[name] for name in ("colour", "shape", "motion")}
        sound = {name: meta[name] for name in ("pitch", "timbre", "contour", "rhythm")}
        assert split_of("video", clip) == split_of("audio", sound) == "test"
        assert all(value in sample["target"] for value in meta.values())


def test_missing_media_leave_any_part_and_its_caption():
    whole = list(source(media="audio_video", count=60))
    samples = list(source(media="audio_video", count=60, missing=0.5))
    kinds = [tuple(part["type"] for part in sample["media"]) for sample in samples]
    assert 20 <= sum(len(kind) == 1 for kind in kinds) <= 40
    assert set(kinds) == {("video", "audio"), ("video",), ("audio",)}
    for sample, full in zip(samples, whole, strict=True):
        words = dict(zip(("video", "audio"), full["target"].split(" with "), strict=True))
        said = [words[part["type"]] for part in sample["media"]]
        assert sample["target"] == " with ".join(said)


def test_questions_ask_each_field_of_each_file():
    samples = list(source(task="vqa"))
    assert [sample["meta"]["field"] for sample in samples] == ["colour", "shape", "motion"] * 2
    assert len({sample["media"][0]["path"] for sample in samples}) == 2
    for sample in samples:
        assert sample["target"] == sample["meta"][sample["meta"]["field"]]
        assert sample["target"] in sample["choices"] and sample["prompt"].endswith("?")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_default_count_shows_every_combination_of_the_split_alone(split):
    whole = ShapesSource(ShapesConfig(split=split))
    shown = {tuple(c.values()) for c in map(whole._shelves["video"].combination, range(len(whole)))}
    assert shown == {tuple(c.values()) for c in combinations("video", split)}


@pytest.mark.parametrize(
    "wrong", [{"split": "dev"}, {"count": 0}, {"medium": "video"}, {"missing": 0.5}]
)
def test_unknown_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        ShapesConfig(**{"split": "test", **wrong})


def test_an_index_beyond_the_end_ends_iteration():
    with pytest.raises(IndexError):
        source()[6]
