import json
import math
import time

import pytest
from typer.testing import CliRunner

from mmadapt.bench.loading import bench_data, loading_text
from mmadapt.bench.stages import STAGES, Stages, clocked
from mmadapt.cli.app import app
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.media.reader import Reader
from mmadapt.data.views import InMemory
from mmadapt.errors import RecipeError
from mmadapt.recipe import load_recipe, resolve
from tests import world
from tests.tiny import tiny_tokenizer


class Slow(world.ColourSource):
    """Takes a twentieth of a second for every record."""

    def __getitem__(self, index):
        time.sleep(0.05)
        return super().__getitem__(index)


@pytest.fixture
def measured(tmp_path):
    lm = world.save_lm(tmp_path / "lm")

    def of(use="tests.world:ColourSource", count=40, **options):
        blocks = {"data": {"train": {"use": use, "count": count}}}
        recipe = resolve(load_recipe(world.recipe(lm, **blocks)), allow_code=True)
        return bench_data(recipe, steps=2, allow_code=True, **options)

    return of


def test_each_number_of_workers_is_a_row(measured):
    found = measured(workers=[0, 1])
    assert [row.workers for row in found.rows] == [0, 1] and found.batch_size == 4
    for row in found.rows:
        assert row.samples_per_second > 0 and row.step_seconds > 0 and 0 <= row.waiting < 1
    assert set(found.shares) == set(STAGES) and math.isclose(sum(found.shares.values()), 1)
    assert found.items_per_sample == 1 and found.bytes_per_sample == 0  # paths name colours
    table = loading_text(found)
    assert "colours: batches of 4" in table and "0 (chosen)" in table and "waiting" in table
    assert json.loads(json.dumps(found.to_dict()))["chosen_workers"] == 0


def test_where_a_pass_is_short_no_speed_is_told(measured):
    found = measured(count=8)  # two batches
    assert found.rows[0].samples_per_second is None and found.rows[0].step_seconds > 0
    assert "too little data to measure the loader" in loading_text(found)
    enough = loading_text(measured(count=20))
    assert "too little" not in enough and "  -  " not in enough


def test_training_waits_for_a_slow_source_and_it_is_named(measured):
    found = measured("tests.core.bench.test_loading:Slow", count=20)
    (row,) = found.rows
    assert row.waiting > 0.5 and found.shares["record"] > 0.5
    assert row.samples_per_second < 20 and row.step_seconds > 0.2


def test_without_training_data_there_is_nothing_to_measure(tmp_path):
    blocks = world.recipe(world.save_lm(tmp_path / "lm"))
    del blocks["data"]["train"]
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps(blocks))
    with pytest.raises(RecipeError, match=r"own\.yaml:1:\d+: data: data\.train is missing"):
        bench_data(resolve(load_recipe(path), allow_code=True), allow_code=True)


def test_what_a_stage_holds_counts_once(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 6.0])
    monkeypatch.setattr("mmadapt.bench.stages.time.perf_counter", lambda: next(now))
    stages = Stages()
    with stages.stage("transform"), stages.stage("read"):
        pass
    assert (stages.seconds["transform"], stages.seconds["read"]) == (1.0 + 3.0, 2.0)


def test_a_data_set_is_left_as_it_was(tmp_path):
    (tmp_path / "c0").mkdir()
    (tmp_path / "c0" / "1").write_bytes(b"12345")
    part = {"type": "image", "path": "c0/1"}
    sample = {"id": "a", "prompt": "say", "target": "red", "media": [part, part]}
    processors = {"image": ("image", world.ColourProcessor())}
    samples = MediaDataset(
        InMemory([sample]), world.PlainHead(None), tiny_tokenizer(world.WORDS), processors,
        training=True,
    )  # fmt: skip
    before, read = dict(samples.__dict__), Reader.read
    with pytest.MonkeyPatch.context() as patch, clocked(samples) as stages:
        patch.chdir(tmp_path)
        assert samples[0].id == "a" and Reader.read is not read
    assert (stages.samples, stages.items, stages.media_bytes) == (1, 1, 5)  # the second is kept
    assert stages.seconds["record"] > 0 and stages.seconds["text"] > 0
    same = ("source", "head", "processors")
    assert all(samples.__dict__[name] is before[name] for name in same) and Reader.read is read


def test_numbers_of_workers_are_checked(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(world.recipe(world.save_lm(tmp_path / "lm"))))
    command = ["bench", "--data", str(path), "--allow-code", "--rounds", "1"]
    refused = CliRunner().invoke(app, [*command, "--workers", "a,2"])
    assert refused.exit_code == 2
    assert "--workers a,2: must be whole numbers from 0 on" in refused.stderr
    result = CliRunner().invoke(app, [*command, "--workers", "0", "--json"])
    (found,) = json.loads(result.stdout)
    assert [row["workers"] for row in found["rows"]] == [0] and found["name"] == "colours"
