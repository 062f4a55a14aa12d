"""What goes wrong while a part is built is told in one line, with its place."""

from __future__ import annotations

import re

import pytest
import yaml
from typer.testing import CliRunner

from mmadapt.checking.dry_run import dry_run
from mmadapt.cli.app import app
from mmadapt.composition import compose
from mmadapt.errors import MMAdaptError, PluginError, RecipeError
from mmadapt.recipe import load_recipe
from tests.toy import EverySite, EverySiteConfig

PARTS = {
    "name": "parts",
    "lm": {"model": "embedded:lm"},
    "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
    "head": {"use": "caption"},
}


def _number(text):
    return int(text)


class FailingConfig(EverySiteConfig):
    how: str = "bug"


class Failing(EverySite):
    """Cannot be built, by a bug or by what it says of its options."""

    Config = FailingConfig

    def __init__(self, config, context):
        super().__init__(config, context)
        if config.how == "bug":
            _number("three")
        elif config.how == "disk":
            raise OSError("no space")
        raise RecipeError(f"fusion '{self.name}': width: 3 is odd")


def written(tmp_path, how, listed=False):
    fusion = {"use": "tests.core.test_building:Failing", "how": how}
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump({**PARTS, "fusion": [fusion] if listed else fusion}))
    return file


@pytest.mark.parametrize("build", [dry_run, compose])
def test_a_bug_in_a_part_is_one_line_that_names_package_file_and_line(build, tmp_path):
    recipe = load_recipe(written(tmp_path, "bug"))
    with pytest.raises(PluginError) as caught:
        build(recipe, allow_code=True)
    said = str(caught.value)
    line = re.fullmatch(
        r"fusion 'tests\.core\.test_building:Failing': ValueError: invalid literal for int\(\) "
        r"with base 10: 'three' \(test_building\.py:(\d+)\); MMADAPT_DEBUG=1 shows the traceback",
        said,
    )
    assert line is not None, said
    with open(__file__) as source:
        assert "return int(text)" in source.read().splitlines()[int(line[1]) - 1]


def test_trouble_that_is_no_bug_stays_what_it_is(tmp_path):
    with pytest.raises(OSError, match="no space"):
        compose(written(tmp_path, "disk"), allow_code=True)


@pytest.mark.parametrize("build", [dry_run, compose])
@pytest.mark.parametrize(("listed", "key"), [(False, "fusion"), (True, r"fusion\.0")])
def test_what_a_part_refuses_is_said_with_its_place_in_the_recipe(build, listed, key, tmp_path):
    recipe = load_recipe(written(tmp_path, "refuses", listed))
    told = rf"r\.yaml:\d+:\d+: {key}: fusion 'Failing': width: 3 is odd$"
    with pytest.raises(RecipeError, match=told):
        build(recipe, allow_code=True)


@pytest.mark.parametrize(("variable", "code"), [("", 2), ("1", 1)])
def test_check_shows_the_traceback_where_it_is_asked_for(variable, code, tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPT_DEBUG", variable)
    result = CliRunner().invoke(app, ["check", str(written(tmp_path, "bug")), "--allow-code"])
    assert result.exit_code == code
    assert isinstance(result.exception, MMAdaptError) == bool(variable)
    assert len(result.stderr.splitlines()) == (0 if variable else 1)
