import errno
import sys
import types

import pytest
from typer.testing import CliRunner

import mmadapt.train.folder  # noqa: F401  found in sys.modules once `trained` replaced its parent
from mmadapt.cli.app import app
from mmadapt.errors import AdapterError, MediaError, RecipeError
from tests.core.recipe.samples import RECIPE, make_registry


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command in an empty folder that holds r.yaml, with the registry of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mmadapt.recipe.check.get_registry", make_registry)
    (tmp_path / "r.yaml").write_text(RECIPE)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def trained(monkeypatch):
    """Calls of `mmadapt.train.train`, and the error it raises if one is put in."""
    calls = types.SimpleNamespace(seen=[], error=None)

    def train(recipe, output_dir, resume=False, allow_code=False, quiet=False):
        calls.seen.append((recipe, output_dir, resume, allow_code, quiet))
        if calls.error is not None:
            raise calls.error
        return {"metrics": {"cider": 9.5}}

    monkeypatch.setitem(sys.modules, "mmadapt.train", types.SimpleNamespace(train=train))
    return calls


def test_train_hands_on_what_was_asked(run, trained):
    result = run("train", "r.yaml", "train.max_steps=5", "--output-dir", "out", "--resume")
    assert result.exit_code == 0
    assert result.stdout.split() == ["cider", "with", "media", "9.500"]
    [(resolved, folder, resume, allow_code, quiet)] = trained.seen
    assert resolved.recipe.train.arguments["max_steps"] == 5
    assert resolved.fusions[0].config.alpha == 1.0
    assert (str(folder), resume, allow_code, quiet) == ("out", True, False, False)


def test_train_prints_json_for_scripts(run, trained):
    assert (
        run("train", "r.yaml", "--json").stdout == '{\n  "metrics": {\n    "cider": 9.5\n  }\n}\n'
    )
    assert trained.seen[0][1] is None
    assert trained.seen[0][4] is True


def test_a_mistake_in_the_recipe_stops_before_training(run, trained):
    result = run("train", "r.yaml", "fusion.alpa=1", "head.prompt=3")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines() == [
        "override 'fusion.alpa=1': fusion.alpa: unknown option of fusion 'adem' (pack 0.1); "
        "expected one of alpha, encoders, inner, layers, learning_rate, mode, name, scales, use; "
        "did you mean 'alpha'?",
        "override 'head.prompt=3': head.prompt: wrong type (3); expected text; "
        "write it in quotes: '3'",
    ]
    assert trained.seen == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (AdapterError("the adapter is torn"), 2, "error: the adapter is torn\n"),
        (MediaError("a.mp4", "empty"), 2, "error: a.mp4"),
        (RecipeError("no metrics"), 2, "recipe: no metrics\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "error: out: Permission"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(run, trained, error, code, message):
    trained.error = error
    result = run("train", "r.yaml")
    assert result.exit_code == code
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), OSError(errno.EBADF, "bug")])
def test_a_bug_keeps_its_traceback(run, trained, error):
    trained.error = error
    result = run("train", "r.yaml")
    assert result.exit_code == 1
    assert result.exception is error


def test_debug_shows_where_a_mistake_was_found(run, trained, monkeypatch):
    monkeypatch.setenv("MMADAPT_DEBUG", "1")
    trained.error = AdapterError("torn")
    assert run("train", "r.yaml").exception is trained.error


def test_allow_code_finds_modules_in_the_current_folder(run, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    text = (
        "from mmadapt import Fusion\nfrom pydantic import BaseModel\n"
        "class Mine(Fusion):\n    class Config(BaseModel):\n        pass\n"
    )
    (tmp_path / "code_beside_recipe.py").write_text(text)
    use = "fusion.use=code_beside_recipe:Mine"
    refused = run("train", "r.yaml", use)
    assert refused.exit_code == 2
    assert "--allow-code" in refused.stderr
    assert "code_beside_recipe" not in sys.modules
    assert run("train", "r.yaml", use, "--allow-code").exit_code == 0
    assert trained.seen[0][3] is True


def test_a_missing_recipe(run):
    result = run("train", "rr.yaml")
    assert result.exit_code == 2
    assert result.stderr == (
        "rr.yaml: cannot read 'rr.yaml': No such file or directory; did you mean 'r.yaml'?\n"
    )


def test_wrong_usage_exits_with_2(run):
    assert run("trian").exit_code == 2
    assert run("train").exit_code == 2
    assert run("train", "r.yaml", "--no-such-option").exit_code == 2


def test_show_prints_every_default_and_reads_back(run, tmp_path):
    from mmadapt.recipe import load_and_resolve

    result = run("show", "r.yaml", "train.max_steps=7")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  mode: soft\n" in result.stdout and "max_steps: 7" in result.stdout
    (tmp_path / "shown.yaml").write_text(result.stdout)
    shown, written = load_and_resolve("shown.yaml"), load_and_resolve("r.yaml")
    assert [part.config for part in shown.fusions] == [part.config for part in written.fusions]
    assert [part.config for part in shown.metrics] == [part.config for part in written.metrics]
    assert run("show", "shown.yaml").stdout == result.stdout


def test_show_goes_on_where_a_part_is_wrong(run):
    result = run("show", "r.yaml", "fusion.use=amed")
    assert result.exit_code == 0
    assert "did you mean 'adem'" in result.stderr and "without the defaults" in result.stderr
    assert "use: amed" in result.stdout


def test_evaluate_hands_on_and_prints_a_table(run, monkeypatch):
    seen = []

    def evaluate_adapter(path, overrides, **options):
        seen.append((path, overrides, options))
        prediction = {"answer": "a red circle", "references": ["a red square"]}
        scores = {"metrics": {"cider": 9.5}, "blind": {"cider": 0.25}}
        return {**scores, "predictions": [prediction] * 3, "num_examples": 2}

    module = types.SimpleNamespace(evaluate_adapter=evaluate_adapter)
    monkeypatch.setitem(sys.modules, "mmadapt.evaluate", module)
    result = run("evaluate", "runs/a", "data.test.path=x", "--split", "test", "-o", "out")
    assert result.exit_code == 0
    [(path, overrides, options)] = seen
    assert (path, overrides) == ("runs/a", ["data.test.path=x"])
    assert (options["split"], str(options["output_dir"]), options["allow_code"]) == (
        "test",
        "out",
        False,
    )
    assert result.stdout.count("a red square") == 2
    assert [line.split()[-1] for line in result.stdout.splitlines()[-2:]] == ["9.500", "0.250"]
    assert "nothing was written" not in result.stderr
    quiet = run("evaluate", "runs/a", "--json")
    assert "predictions" not in quiet.stdout and "num_examples" not in quiet.stdout
    assert quiet.stderr == ""
    told = run("evaluate", "runs/a").stderr
    assert "nothing was written; --output-dir FOLDER keeps scores and answers" in told
