import json

import pytest
from typer.testing import CliRunner

from mmadapt.cli.app import app
from tests.core.fake_plugins import write_plugin


@pytest.fixture
def plugins(plugin_folder, monkeypatch):
    write_plugin(plugin_folder, "pack_a", version="1.5")
    write_plugin(plugin_folder, "pack_b", plugin="import no_such_module")
    monkeypatch.setenv("MMADAPT_PLUGINS", "pack_a,pack_b")
    return lambda *arguments: CliRunner().invoke(app, ["plugins", *arguments])


def test_the_table_lists_names_and_broken_plugins(plugins):
    result = plugins()
    assert result.exit_code == 0
    head, mine, broken = [line.split() for line in result.stdout.splitlines()]
    assert head == ["KIND", "NAME", "PACKAGE", "VERSION", "SUMMARY"]
    assert mine == ["fusion", "mine", "pack_a", "1.5", "a", "fusion", "for", "tests"]
    assert broken[:5] == ["plugin", "pack_b", "pack_b", "1.2", "broken:"]
    assert "no_such_module" in broken[-1]


def test_json_and_kind(plugins):
    [mine, broken] = json.loads(plugins("--json").stdout)
    assert mine["status"] == "ok"
    assert broken["status"].startswith("broken: ModuleNotFoundError")
    assert [row["kind"] for row in json.loads(plugins("--json", "--kind", "head").stdout)] == [
        "plugin"
    ]
    result = plugins("--kind", "fusions")
    assert result.exit_code == 2
    assert "kinds: encoder, fusion" in result.stderr


def test_verify_imports_and_fails_where_something_does_not_work(plugins, monkeypatch):
    result = plugins("--verify")
    assert result.exit_code == 2  # pack_b
    assert "a fusion for tests" in result.stdout
    assert result.stderr == "1 of 2 plugins do not work\n"


def test_verify_passes_where_all_is_well(plugins, monkeypatch):
    monkeypatch.setenv("MMADAPT_PLUGINS", "pack_a")
    result = plugins("--verify")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "1 plugin verified")
    assert len(json.loads(plugins("--verify", "--json").stdout)) == 1


def test_verify_names_code_that_does_not_import(plugin_folder, monkeypatch):
    write_plugin(plugin_folder, "pack_c", code="raise RuntimeError('no luck')")
    monkeypatch.setenv("MMADAPT_PLUGINS", "pack_c")
    assert CliRunner().invoke(app, ["plugins"]).exit_code == 0
    result = CliRunner().invoke(app, ["plugins", "--verify"])
    assert result.exit_code == 2
    assert "RuntimeError: no luck" in result.stdout


def test_a_selection_that_is_not_installed(plugins, monkeypatch):
    monkeypatch.setenv("MMADAPT_PLUGINS", "pack_z")
    result = plugins()
    assert result.exit_code == 2
    assert "MMADAPT_PLUGINS names 'pack_z'" in result.stderr
