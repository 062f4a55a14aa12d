import json

import pytest
from typer.testing import CliRunner

from mmadapt.caching import fill_cache
from mmadapt.caching import run as module
from mmadapt.cli.app import app
from mmadapt.data.features import contents, store
from mmadapt.data.features.folder import sets_in
from mmadapt.errors import MMAdaptError, RecipeError
from mmadapt.recipe import load_and_resolve
from mmadapt.train import train
from tests import world


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder where every path of the world is a file."""
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_FRESH_SECONDS", -1.0)  # these files are older than they seem
    monkeypatch.chdir(tmp_path)
    world.write_media(tmp_path, [*range(24), *range(100, 116)])
    return tmp_path


def resolved(lm, **blocks):
    return load_and_resolve(world.recipe(lm, **blocks), allow_code=True)


def fill(lm, splits=None, **blocks):
    world.CALLS.clear()
    return fill_cache(resolved(lm, **blocks), splits, allow_code=True, quiet=True)


def test_everything_is_encoded_once(lm, place):
    first = fill(lm)
    assert first.added == 40 and first.present == {"train": 0, "test": 0}
    entries = list((place / "cache").rglob("*.safetensors"))
    assert len(entries) == 40
    assert first.estimated_bytes == pytest.approx(sum(p.stat().st_size for p in entries), rel=0.05)
    second = fill(lm)
    assert second.added == 0 and second.present == {"train": 24, "test": 16}
    assert second.estimated_bytes == 0 and world.CALLS == []


def test_one_split_alone(lm, place):
    assert fill(lm, ["test"]).added == 16
    assert fill(lm).present == {"train": 0, "test": 16}
    with pytest.raises(RecipeError, match="no split 'tets'; it has train, test"):
        fill(lm, ["tets"])


def test_training_after_it_decodes_nothing_and_gives_the_same_scores(lm, place):
    world.CALLS.clear()
    plain = train(resolved(lm), place / "plain", allow_code=True, quiet=True)
    assert world.CALLS
    fill(lm)
    world.CALLS.clear()
    blocks = {"data": {"cache": True}}
    cached = train(resolved(lm, **blocks), place / "cached", allow_code=True, quiet=True)
    assert world.CALLS == []
    assert cached["metrics"] == plain["metrics"]
    assert cached["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-5)


def test_training_fills_it_in_its_first_epoch(lm, place):
    blocks = {"data": {"cache": True}}
    first = train(resolved(lm, **blocks), place / "first", allow_code=True, quiet=True)
    assert len(world.CALLS) and fill(lm).added == 0
    world.CALLS.clear()
    again = train(resolved(lm, **blocks), place / "again", allow_code=True, quiet=True)
    assert world.CALLS == [] and again["train_loss"] == pytest.approx(first["train_loss"], 1e-5)


def test_bad_files_are_counted_and_left_out(lm, place):
    (place / "bad").mkdir()
    (place / "bad" / "5").write_text("x")
    data = {"train": {"use": "tests.world:ColourSource", "bad": [5]}, "max_bad_share": 0.1}
    result = fill(lm, **{"data": data})
    assert result.unreadable == {"train": 1, "test": 0} and result.added == 39
    with pytest.raises(MMAdaptError, match="bad/5"):
        fill(lm, **{"data": {**data, "max_bad_share": 0.0}})


def test_what_does_not_fit_is_refused_before_anything_is_written(lm, place, monkeypatch):
    with pytest.raises(MMAdaptError, match=r"would pass its limit.*data\.cache_gib"):
        fill(lm, **{"data": {"cache_gib": 1e-6}})
    monkeypatch.setattr(module, "RESERVE", 10**18)
    with pytest.raises(MMAdaptError, match="do not fit on the disk"):
        fill(lm)
    assert not list((place / "cache").rglob("*.safetensors"))


def test_a_disk_that_fills_up_meanwhile_ends_it_and_keeps_what_is_there(lm, place, monkeypatch):
    real, calls = store.FeatureStore._write, []

    def write(place, path, data):
        calls.append(path)
        if len(calls) > 10:
            raise OSError(28, "No space left on device")
        real(place, path, data)

    monkeypatch.setattr(store.FeatureStore, "_write", staticmethod(write))
    with pytest.raises(MMAdaptError, match="not complete"):
        fill(lm)
    monkeypatch.undo()
    monkeypatch.setenv("MMADAPT_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    kept = len(list((place / "cache").rglob("*.safetensors")))
    assert kept and fill(lm).added == 40 - kept


def test_the_command(lm, place, capsys):
    file = place / "recipe.yaml"
    resolved(lm).recipe.dump(file)
    run = CliRunner().invoke
    result = run(app, ["cache", str(file), "data.cache_dtype=bfloat16", "--allow-code"])
    assert result.exit_code == 0, result.output
    assert "40 entries added" in result.output and "MiB" in result.stderr
    listed = run(app, ["cache", "--list"])
    assert (
        "ColourEncoder" in listed.output and "bfloat16" in listed.output and "40" in listed.output
    )
    [one] = json.loads(run(app, ["cache", "--list", "--json"]).output)
    assert one["entries"] == 40
    assert "removed 0 sets" in run(app, ["cache", "--prune"]).output
    assert "removed 1 sets" in run(app, ["cache", "--prune", "--max-gib", "0"]).output
    assert sets_in(place / "cache" / "features") == []


@pytest.mark.parametrize("arguments", [[], ["--list", "--prune"], ["a.yaml", "--list"]])
def test_the_command_takes_one_thing(arguments):
    result = CliRunner().invoke(app, ["cache", *arguments])
    assert result.exit_code == 2 and "takes a recipe, or --list, or --prune" in result.stderr
