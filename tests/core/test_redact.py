"""Secrets get into no recipe and no message."""

from pathlib import Path

import pytest

from mmadapt.cli.app import app
from mmadapt.errors import RecipeError
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


def test_what_is_no_secret():
    for text in ("hf_hub", "https://example.org:443/x", "http://a/b@c", "git@example.org:a/b"):
        assert not has_secret(text) and redacted(text) == text
