"""The folder of rendered files."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmadapt.errors import DataError
from mmadapt_shapes.library import Shelf, cache_folder
from mmadapt_shapes.world import split_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path))
    return tmp_path


def files(shelf):
    return {p.name: p.read_bytes() for p in shelf.folder.iterdir()}


def test_the_folder_follows_the_environment(cache, monkeypatch):
    assert cache_folder().is_relative_to(cache)
    monkeypatch.delenv("MMADAPT_CACHE")
    assert cache_folder().is_relative_to(Path.home() / ".cache" / "mmadapt")


def test_only_missing_files_are_rendered():
    shelf = Shelf("image", "test", 4, seed=0)
    shelf.render_missing()
    before = files(shelf)
    stamp = shelf.path(0).stat().st_mtime_ns
    shelf.path(2).unlink()
    shelf.render_missing()
    assert files(shelf) == before
    assert shelf.path(0).stat().st_mtime_ns == stamp


def test_a_longer_shelf_begins_with_the_shorter_one():
    short = Shelf("audio", "train", 2, seed=0)
    short.render_missing()
    before = files(short)
    long = Shelf("audio", "train", 4, seed=0)
    long.render_missing()
    assert before.items() <= files(long).items()
    assert len(files(long)) == 4


def test_splits_and_seeds_have_files_of_their_own():
    shelves = [Shelf("image", split, 1, seed) for split in ("train", "test") for seed in (0, 1)]
    for shelf in shelves:
        shelf.render_missing()
    assert len({shelf.path(0) for shelf in shelves}) == 4
    assert len({shelf.path(0).read_bytes() for shelf in shelves}) == 4
    assert len({tuple(shelf.seeds) for shelf in shelves}) == 4, "no scene comes twice"


def test_racing_shelves_leave_whole_files_only():
    shelves = [Shelf("image", "validation", 12, seed=0) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(Shelf.render_missing, shelves))
    raced = files(shelves[0])
    assert sorted(raced) == [f"{i:05d}.png" for i in range(12)]
    alone = Shelf("image", "validation", 12, seed=0)
    alone.path(5).unlink()
    alone.render_missing()
    assert files(alone) == raced


def test_the_manifest_names_every_file_and_keeps_the_longest():
    Shelf("image", "test", 5, seed=0).render_missing()
    shelf = Shelf("image", "test", 3, seed=0)
    shelf.render_missing()
    manifest = shelf.folder.with_name("test.jsonl")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert len(lines) == 5
    for line in lines:
        assert (manifest.parent / line["image"]).is_file()
        assert line["colour"] in line["caption"]
        names = ("colour", "shape", "size", "position")
        assert split_of("image", {name: line[name] for name in names}) == "test"


def test_a_folder_that_cannot_be_written_is_named_with_a_way_out(cache):
    (cache / "shapes").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="MMADAPT_CACHE") as caught:
        Shelf("image", "test", 1, seed=0).render_missing()
    assert str(cache) in str(caught.value)
