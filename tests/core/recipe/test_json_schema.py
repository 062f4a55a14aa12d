"""The JSON Schema of recipes: good recipes pass, a mistake is told where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from mmadapt.cli.app import app
from mmadapt.recipe.json_schema import recipe_schema
from mmadapt.recipe.load import read_node
from mmadapt.recipe.node import plain
from mmadapt.recipe.text import parse
from tests.core.fake_plugins import write_plugin
from tests.core.recipe.samples import RECIPE, make_registry

RECIPES = sorted((Path(__file__).parents[3] / "recipes").rglob("*.yaml"))


@pytest.fixture(scope="module")
def installed():
    """The schema of the installed plugins; a draft that says so and is sound."""
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return json.loads(json.dumps(schema))


@pytest.fixture(scope="module")
def schema():
    return recipe_schema(make_registry())


def mistakes(schema, recipe):
    """Where a recipe is wrong, and all that is said of it."""
    found = {}
    for error in jsonschema.Draft202012Validator(schema).iter_errors(recipe):
        found[error.json_path] = " | ".join(messages(error))
    return found


def messages(error):
    inner = [text for part in error.context or [] for text in messages(part)]
    return [error.message, *inner]


def changed(**changes):
    recipe = plain(parse(RECIPE, "r.yaml"))
    for path, value in changes.items():
        *steps, last = path.split("__")
        place = recipe
        for step in steps:
            place = place[step]
        place[last] = value
        if value is None:
            del place[last]
    return recipe


def test_there_are_recipes():
    assert len(RECIPES) > 5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_passes(path, installed):
    """As written, and with what it extends laid under it."""
    written = plain(parse(path.read_text(), path.name))
    assert mistakes(installed, written) == {}
    assert mistakes(installed, plain(read_node(path))) == {}


def test_the_sample_passes(schema):
    assert mistakes(schema, changed()) == {}
    assert mistakes(schema, changed(fusion={"use": "my_code:Mine", "anything": 1})) == {}
    assert mistakes(schema, changed(fusion=[{"use": "adem"}, {"use": "adem", "name": "b"}])) == {}
    mixed = [{"use": "files", "path": "a", "weight": 2}, {"use": "files", "path": "b", "weight": 1}]
    assert mistakes(schema, changed(data__train=mixed)) == {}


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ({"head": None}, "$", "'head' is a required property"),
        ({"fusions": {}}, "$", "'fusions' was unexpected"),
        ({"fusion__alfa": 1}, "$.fusion", "'alfa' was unexpected"),
        ({"fusion__alpha": "much"}, "$.fusion", "'much' is not of type 'number'"),
        ({"fusion__mode": "hrad"}, "$.fusion", "'hrad' is not one of ['soft', 'hard']"),
        ({"fusion__inner": {"wide": 3}}, "$.fusion", "is not valid under any"),
        ({"fusion__use": "amed"}, "$.fusion", "is not valid under any"),
        ({"fusion__learning_rate": -1}, "$.fusion", "-1 is less than or equal to the minimum"),
        ({"encoders__video__num_frames": 0}, "$.encoders.video.num_frames", "minimum of 1"),
        ({"encoders__video__model": None}, "$.encoders.video", "'model' is a required property"),
        ({"encoders": {"a-b": {"use": "frames"}}}, "$.encoders", "a-b"),
        ({"lm__model": None}, "$.lm", "'model' is a required property"),
        ({"data__train__path": 3}, "$.data.train", "3 is not of type 'string'"),
        ({"data__train": [{"use": "files", "path": "a", "wait": 1}]}, "$.data.train", "'wait'"),
        ({"train__max_step": 3}, "$.train", "'max_step' was unexpected"),
        ({"train__max_steps": "many"}, "$.train.max_steps", "'many' is not of type 'integer'"),
        ({"train__output_dir": "here"}, "$.train", "'output_dir' was unexpected"),
        ({"evaluate__generate__num_beam": 3}, "$.evaluate.generate", "'num_beam' was unexpected"),
        ({"evaluate__generate__num_beams": 0}, "$.evaluate.generate.num_beams", "minimum of 1"),
        ({"evaluate__metrics": ["cidr"]}, "$.evaluate.metrics[0]", "is not valid under any"),
        ({"evaluate__blind": ["muted"]}, "$.evaluate.blind[0]", "'muted' is not one of"),
    ],
)
def test_a_mistake_is_told_where_it_stands(schema, change, place, message):
    found = mistakes(schema, changed(**change))
    assert place in found
    assert message in found[place]


def test_what_extends_another_may_leave_out_and_remove(schema):
    short = {
        "extends": "base.yaml",
        "encoders": {"video": {"use": "frames", "num_frames": 4}},
        "fusion": {"use": "adem", "alpha": None},
        "train": {"seed": 1},
    }
    assert mistakes(schema, short) == {}
    assert "$.fusion" in mistakes(schema, {**short, "fusion": {"use": "adem", "alfa": 1}})
    assert "$.train" in mistakes(schema, {**short, "train": {"sed": 1}})


def test_first_party_options_have_hover_texts(installed):
    bare = [
        f"{name}: {key}"
        for name, definition in installed["$defs"].items()
        if not name.startswith("partial.")
        for key, value in definition.get("properties", {}).items()
        if key != "use" and not value.get("description")
    ]
    assert [place for place in bare if not place.startswith("TrainConfig")] == []
    assert len(bare) < 5  # transformers says nothing of these
    properties = installed["$defs"]["TrainConfig"]["properties"]
    assert "learning rate" in properties["learning_rate"]["description"]
    assert "linear" in json.dumps(properties["lr_scheduler_type"])
    generate = installed["$defs"]["EvaluateConfig"]["properties"]["generate"]["properties"]
    assert "tokens" in generate["max_new_tokens"]["description"]


def test_names_have_their_summaries(installed):
    names = installed["$defs"]["fusion"]["properties"]["use"]["anyOf"]
    described = {item["const"]: item["description"] for item in names if "const" in item}
    assert described["adem"].startswith("ADEM-VL")


def test_the_command_writes_it_and_passes_over_broken_plugins(plugin_folder, tmp_path, monkeypatch):
    write_plugin(plugin_folder, "good")
    write_plugin(plugin_folder, "torn", code="import no_such_module", name="torn_one")
    write_plugin(plugin_folder, "broken", plugin="1 / 0")
    monkeypatch.setenv("MMADAPT_PLUGINS", "good,torn,broken")
    file = tmp_path / "recipe.schema.json"
    result = CliRunner().invoke(app, ["schema", "--output", str(file)])
    assert (result.exit_code, result.exception) == (0, None)
    assert f"# yaml-language-server: $schema={file}" in result.stdout
    written = json.loads(file.read_text())
    assert "alpha" in written["$defs"]["fusion.mine"]["properties"]
    assert "fusion.torn_one" not in written["$defs"]
    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout) == written
