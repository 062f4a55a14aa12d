"""A new package beside mmadapt: installed for real, then broken in every way that happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mmadapt.cli.app import app
from mmadapt.scaffold import KINDS, write_plugin
from tests.core.fake_plugins import CODE
from tests.core.fake_plugins import write_plugin as write_installed

RECIPE = """\
name: tiny
lm: {model: "embedded:lm"}
encoders:
  image: {use: my_encoder, image_size: 16}
fusion: {use: my_fusion, scale: 2.0}
head: {use: my_head, prompt: "a picture of"}
data:
  train: {use: my_source, path: data.txt}
  test: {use: my_source, path: data.txt}
train: {max_steps: 2, per_device_train_batch_size: 2, learning_rate: 1.0e-2, disable_tqdm: true}
evaluate: {metrics: [my_metric], generate: {max_new_tokens: 4}}
"""
PROGRAM = """
import json, sys
from typer.testing import CliRunner
from mmadapt.cli.app import app

for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, arguments)
    print(json.dumps([arguments[0], result.exit_code, result.stdout + result.stderr]))
"""
SHIPPED = Path(__file__).parents[2] / "recipes" / "image_caption_adem.yaml"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One new package of each kind, installed into a folder."""
    folder = tmp_path_factory.mktemp("packages")
    new = [write_plugin(kind, f"my_{kind}", folder) for kind in KINDS]
    pip = ["pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    install = [sys.executable, "-m", *pip, "--target", folder / "site", *new]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "site"


def test_installed_packages_are_listed_trained_scored_and_used(site, tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{colour}.png")
    (tmp_path / "data.txt").write_text("red.png\ta red circle\nblue.png\ta blue circle\n" * 2)
    commands = [
        ["plugins", "--json", "--verify"],
        ["check", "tiny.yaml"],
        ["train", "tiny.yaml", "--json"],
        ["generate", "runs/tiny", "--image", "red.png", "--json", "--max-new-tokens", "4"],
    ]
    environment = {"PYTHONPATH": str(site), "MMADAPT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert [code for _, code, _ in results] == [0] * len(commands), (
        done.stdout[-2000:],
        done.stderr[-2000:],
    )
    rows = [row for row in json.loads(results[0][2]) if row["package"].startswith("mmadapt_my_")]
    assert sorted(row["kind"] for row in rows) == sorted(KINDS)
    assert {row["status"] for row in rows} == {"ok"}
    saved = (tmp_path / "runs/tiny/adapter/recipe.yaml").read_text()
    assert "use: my_fusion" in saved and "scale: 2.0" in saved
    assert 0 <= json.loads(results[2][2])["metrics"]["my_metric"] <= 1


CLASH = """
from mmadapt.hookspecs import hookimpl


@hookimpl
def register_encoders(register):
    register("vit", "clash.code:Mine", "another vit")
"""
BREAKAGES = {
    "import error": {"plugin": "from mmadapt import no_such_name"},
    "dies": {"plugin": "raise SystemExit('no licence')"},
    "missing dependency": {"code": "import no_such_package"},
    "wrong type": {"code": "Mine = 3"},
    "half a class": {"code": CODE.replace("class Config(BaseModel)", "class Options(BaseModel)")},
    "announces nonsense": {"plugin": CLASH.replace("clash.code:Mine", "clash.code")},
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_other_commands_work_whatever_is_broken(name, plugin_folder, monkeypatch, tmp_path):
    monkeypatch.setattr("mmadapt.checking.dry_run.previews", lambda *_: [])  # renders nothing
    write_installed(plugin_folder, "broken_one", name="mine", **BREAKAGES[name])
    new = str(tmp_path / "new")
    for arguments in (
        ["--help"],
        ["plugins"],
        ["plugins", "--json"],
        ["show", str(SHIPPED)],
        ["check", str(SHIPPED)],
        ["schema"],
        ["new-plugin", "head", "fresh", "--output", new],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (arguments, result.stderr, result.exception)
    verified = CliRunner().invoke(app, ["plugins", "--verify"])
    assert verified.exit_code == 2
    [told] = [line for line in verified.stdout.splitlines() if "broken_one" in line]
    assert "Traceback" not in told


def test_a_clash_is_fatal_only_for_the_name(plugin_folder):
    write_installed(plugin_folder, "clash", plugin=CLASH)
    shown = CliRunner().invoke(app, ["plugins", "--kind", "encoder"])
    assert "conflict with clash" in shown.stdout and "conflict with mmadapt_vision" in shown.stdout
    result = CliRunner().invoke(app, ["check", str(SHIPPED)])
    assert result.exit_code == 2
    assert "encoder 'vit' is registered by clash 1.2 and mmadapt_vision 0.1.0" in result.stderr
    other = SHIPPED.with_name("video_caption_adem.yaml")
    assert CliRunner().invoke(app, ["show", str(other)]).exit_code == 0
    assert CliRunner().invoke(app, ["schema"]).exit_code == 0
