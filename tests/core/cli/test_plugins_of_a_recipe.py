"""A recipe and the plugins it names: what is broken is fatal only where it is named."""

import json
import re

import pytest
from typer.testing import CliRunner

from mmadapt.cli.app import app
from mmadapt.errors import MMAdaptError
from mmadapt.recipe import load_and_resolve
from mmadapt.registry import get_registry
from tests.core.fake_plugins import CODE, write_plugin

RECIPE = """\
name: named
lm: {model: "org/lm"}
encoders:
  image: {use: look, model: "org/vit"}
fusion: {use: mine}
head: {use: say}
"""
PARTS = """
from mmadapt.hookspecs import hookimpl


@hookimpl
def register_encoders(register):
    register("look", "parts.code:Look", "an encoder for tests")


@hookimpl
def register_heads(register):
    register("say", "parts.code:Say", "a head for tests")
"""
PARTS_CODE = """
from mmadapt import Encoder, Head
from pydantic import BaseModel


class Look(Encoder):
    class Config(BaseModel):
        model: str

    def forward(self, inputs, levels): ...


class Say(Head):
    class Config(BaseModel):
        pass
"""


@pytest.fixture
def site(plugin_folder, monkeypatch, tmp_path):
    """A folder of plugins, and a recipe whose encoder and head the package `parts` announces."""
    write_plugin(plugin_folder, "parts", plugin=PARTS, code=PARTS_CODE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    return plugin_folder


def told(*overrides, allow_code=False):
    """What `mmadapt check` says of the recipe; nothing where its parts are all found."""
    get_registry.cache_clear()
    try:
        load_and_resolve("r.yaml", overrides)
    except MMAdaptError:
        arguments = ["check", "r.yaml", *overrides]
        result = CliRunner().invoke(app, arguments + ["--allow-code"] * allow_code)
        assert result.exit_code == 2, result.exception
        return result.stderr
    return ""


def test_broken_plugins_do_not_matter_where_the_recipe_names_others(site):
    write_plugin(site, "good")
    write_plugin(site, "torn", plugin="import no_such_module")
    write_plugin(site, "cracked", plugin=PARTS.split("@hookimpl")[0] + "1 / 0", name="other")
    assert told() == ""
    rows = json.loads(CliRunner().invoke(app, ["plugins", "--json"]).stdout)
    broken = {row["name"]: row["status"] for row in rows if row["kind"] == "plugin"}
    assert broken["torn"] == "broken: ModuleNotFoundError: No module named 'no_such_module'"
    assert broken["cracked"] == "broken: ZeroDivisionError: division by zero"


def test_a_broken_plugin_is_named_where_its_name_is_wanted(site):
    write_plugin(site, "torn", plugin="import no_such_module")
    message = told()
    assert "r.yaml:5:15: fusion.use: unknown fusion 'mine'" in message
    assert "the plugin torn did not load (ModuleNotFoundError: No module named" in message


def test_a_name_claimed_twice_is_fatal_only_where_it_is_used(site):
    write_plugin(site, "good")
    write_plugin(site, "claim_a", name="both")
    write_plugin(site, "claim_b", name="both", version="2.0")
    assert told() == ""
    message = told("fusion.use=both")
    assert "'both' is registered by claim_a 1.2 and claim_b 2.0; uninstall one" in message
    table = CliRunner().invoke(app, ["plugins"]).stdout
    assert re.search(r"fusion +both +claim_a +1\.2 +conflict with claim_b", table)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import no_such_module",
            "needs the package 'no_such_module', which is not installed",
        ),
        ("raise OSError('libcuda is missing')", "fails at faulty.code:Mine: OSError: libcuda"),
        ("class Mine: pass", "is no fusion: faulty.code:Mine must be a class that inherits from"),
        (CODE.replace("class Config", "class Options"), "has no `Config` (a pydantic model)"),
    ],
)
def test_code_that_cannot_be_used_is_one_line_at_its_place(site, code, message):
    write_plugin(site, "faulty", code=code)
    [line] = told().splitlines()
    assert line.startswith("r.yaml:5:15: fusion.use: fusion 'mine' (faulty 1.2) ")
    assert message in line


def test_a_selection_that_leaves_out_what_a_recipe_names(site, monkeypatch):
    write_plugin(site, "good")
    monkeypatch.setenv("MMADAPT_PLUGINS", "parts")
    assert "unknown fusion 'mine'; available: none; MMADAPT_PLUGINS allows only 'parts'" in told()
    monkeypatch.setenv("MMADAPT_PLUGINS", "parts,god")
    assert "MMADAPT_PLUGINS names 'god', which is not installed" in told()


def test_code_of_a_recipe_runs_only_with_permission(site, tmp_path):
    (tmp_path / "drafts.py").write_text("raise KeyError('it ran')")
    use = "fusion.use=drafts:Mine"
    assert "names Python code, which runs when it is loaded; pass --allow-code" in told(use)
    assert "KeyError: 'it ran'" in told(use, allow_code=True)
