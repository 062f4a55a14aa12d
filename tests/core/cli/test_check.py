import json
import sys
import types
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from mmadapt.cli.app import app
from mmadapt.errors import ModelError
from tests.core.recipe.samples import RECIPE, make_registry

GOOD = "good.yaml: ok, but not here\nall joints fit\n\nmemory: 3 bytes\n"


class Report:
    """Stands in for the report of the dry run, which has its own tests."""

    verdict = "ok, but not here"

    def __str__(self):
        return "all joints fit"

    def static_memory(self):
        return "memory: 2 bytes"

    def to_dict(self):
        return {"joints": []}


@dataclass
class Estimate:
    """Stands in for a footprint."""

    size: int

    def __str__(self):
        return f"memory: {self.size} bytes"


@pytest.fixture
def check(monkeypatch, tmp_path):
    seen = []

    def dry_run(recipe, allow_code=False):
        seen.append(recipe)
        if recipe.recipe.lm.model == "gone":
            raise ModelError("model gone cannot be loaded")
        return Report()

    monkeypatch.setitem(
        sys.modules, "mmadapt.checking.dry_run", types.SimpleNamespace(dry_run=dry_run)
    )
    estimate = types.SimpleNamespace(estimate=lambda recipe: Estimate(3))
    monkeypatch.setitem(sys.modules, "mmadapt.checking.footprint", estimate)
    monkeypatch.setattr("mmadapt.recipe.check.get_registry", make_registry)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(RECIPE)
    (tmp_path / "bad.yaml").write_text(RECIPE.replace("alpha", "alpa"))
    (tmp_path / "gone.yaml").write_text(RECIPE.replace("org/lm", "gone"))
    run = lambda *arguments: CliRunner().invoke(app, ["check", *arguments])  # noqa: E731
    run.seen = seen
    return run


def test_a_good_recipe(check):
    result = check("good.yaml", "train.max_steps=3")
    assert (result.exit_code, result.stdout) == (0, GOOD)
    assert check.seen[0].recipe.train.arguments["max_steps"] == 3


def test_every_recipe_is_checked_although_one_is_bad(check):
    result = check("bad.yaml", "gone.yaml", "good.yaml")
    assert result.exit_code == 2
    assert result.stdout == GOOD
    bad, gone = result.stderr.splitlines()
    assert bad.startswith("bad.yaml:5:47: fusion.alpa: unknown option")
    assert gone == "gone.yaml: model gone cannot be loaded"


def test_json_tells_the_same(check):
    result = check("bad.yaml", "good.yaml", "--json")
    assert result.exit_code == 2
    bad, good = json.loads(result.stdout)
    [problem] = bad["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("bad.yaml", 5, 47)
    assert (problem["key"], problem["hint"]) == ("fusion.alpa", "did you mean 'alpha'?")
    assert good.pop("memory") == {"size": 3}
    assert good == {"recipe": "good.yaml", "ok": True, "report": {"joints": []}}


def test_memory_may_be_left_out(check):
    assert check("good.yaml", "--no-memory").stdout == GOOD.partition("\n\n")[0] + "\n"


def test_what_stays_in_memory_is_told_where_a_step_cannot_be_estimated(check, monkeypatch):
    why = types.SimpleNamespace(estimate=lambda recipe: "not estimated: too long")
    monkeypatch.setitem(sys.modules, "mmadapt.checking.footprint", why)
    told = check("good.yaml").stdout.splitlines()
    assert told[2:] == ["", "memory: 2 bytes", "not estimated: too long"]


def test_overrides_alone_are_no_recipe(check):
    result = check("a=b")
    assert result.exit_code == 2
    assert "no recipe to check" in result.stderr
