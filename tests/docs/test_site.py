"""The site builds without a warning, fetches nothing, and shows what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmadapt import __all__ as public
from mmadapt.cli.app import app

REPOSITORY = Path(__file__).parents[2]
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
HARMLESS = {"canonical", "next", "prev"}  # links that no browser follows by itself


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class Fetched(HTMLParser):
    """Collects what a browser would fetch for a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in FETCHED and given.get("rel") not in HARMLESS:
            self.found.append(given.get(FETCHED[tag]) or "")


def test_nothing_is_fetched_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert [url for url in parser.found if re.match(r"(https?:)?//", url)] == [], page


def test_equations_are_drawn_without_a_script(site):
    for name, least in {"adem": 4, "epalm": 2, "evlm": 3, "prefix": 1}.items():
        text = (site / f"fusions/{name}.html").read_text(encoding="utf-8")
        assert text.count("<math") >= least, name
        assert "arithmatex" not in text and "$$" not in text


def test_references_name_every_command_and_every_public_name(site):
    commands = (site / "reference/cli.html").read_text(encoding="utf-8")
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        assert f"mmadapt {name}" in commands
    pages = ("python", "contracts", "testing", "errors")
    texts = "".join((site / f"reference/{page}.html").read_text() for page in pages)
    assert [name for name in public if name not in texts] == []
    recipe = (site / "reference/recipe.html").read_text(encoding="utf-8")
    for key in ("max_bad_share", "dtype", "bottleneck", "num_frames", "unfreeze", "annotations"):
        assert f"<code>{key}</code>" in recipe
