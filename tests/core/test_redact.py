"""Secrets get into no recipe and no message."""

from pathlib import Path

import pytest

from mmadapt.cli.app import app
from mmadapt.data.items import Failed
from mmadapt.data.quarantine import Quarantine
from mmadapt.errors import DataError, MediaError, RecipeError
from mmadapt.recipe import load_recipe
from mmadapt.redact import has_secret, redacted

TOKEN = "hf_" + "aB3" * 11
RECIPE = Path(__file__).parents[2] / "recipes" / "video_caption_adem.yaml"


@pytest.mark.parametrize("value", [TOKEN, "https://me:pa55@example.org/x", f"x {TOKEN}"])
@pytest.mark.parametrize("key", ["lm.revision", "encoders.video.model", "name"])
def test_a_recipe_keeps_no_secret(key, value):
    with pytest.raises(RecipeError, match=r"\*\*\*.*holds a token or a password") as found:
        load_recipe(RECIPE, [f"{key}={value}"])
    assert "pa55" not in str(found.value) and TOKEN not in str(found.value)


def test_the_command_line_shows_none(capsys, tmp_path):
    with pytest.raises(SystemExit):
        app(["show", str(tmp_path / f"{TOKEN}.yaml")])
    said = capsys.readouterr()
    assert TOKEN not in said.err + said.out and "***.yaml" in said.err


def test_what_data_hold_is_neither_shown_nor_kept(capsys, tmp_path):
    """An address with a password in place of a file: on the terminal, in the run's files."""
    address = "https://me:pa55@example.org/x.png"
    error = MediaError(address, f"{address} is an address", "image", "Download it.")
    for one in (error, DataError(address, 3, f"{address} is an address")):
        assert "pa55" not in str(one) and str(one).count("***@example.org/x.png") == 2
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 1.0)
    for place in (0, 1):
        quarantine.watch("train", 2).add([Failed(place, "s0", error, "unreadable")])
    said = capsys.readouterr()
    kept = (tmp_path / "quarantine.jsonl").read_text()
    assert "pa55" not in said.err + said.out + kept and "***" in said.err
    assert kept.count("***") == 2 and kept.count("\n") == 1


def test_what_is_no_secret():
    for text in ("hf_hub", "https://example.org:443/x", "http://a/b@c", "git@example.org:a/b"):
        assert not has_secret(text) and redacted(text) == text
