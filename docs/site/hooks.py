"""What the site adds to the pages: generated references, and equations without a script.

A page asks for a reference by a comment, `<!-- generated: commands -->` or
`<!-- generated: recipe keys -->`, and for `SECURITY.md` by `<!-- generated: security -->`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from latex2mathml.converter import convert
from typer.cli import get_docs_for_click
from typer.main import get_command

from mmadapt.cli.app import app
from mmadapt.recipe.json_schema import recipe_schema

_WANTED = re.compile(r"<!-- generated: (?P<what>[\w ]+) -->")
_MATH = re.compile(r'<(div|span) class="arithmatex">\\[\[(](?P<latex>.*?)\\[\])]</\1>', re.DOTALL)
_TRANSFORMERS = {
    "TrainConfig": "transformers.TrainingArguments",
    "EvaluateConfig.generate": "transformers.GenerationConfig",
}
_KINDS = ("encoder", "fusion", "head", "source", "metric")
Schema = dict[str, Any]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the references that a page asks for."""
    return _WANTED.sub(lambda found: _WRITERS[found["what"]](), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Write equations as MathML, which browsers draw by themselves."""

    def written(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        return convert(html.unescape(found["latex"]), display=display)

    return _MATH.sub(written, content)


def commands() -> str:
    """Every command with its arguments and options, from the program itself."""
    command = get_command(app)
    context = click.Context(command, info_name="mmadapt")
    text = get_docs_for_click(obj=command, ctx=context, name="mmadapt")
    return text.partition("\n")[2]  # the page has a title of its own


def security() -> str:
    """What stands in SECURITY.md, its links as seen from the pages."""
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    return text.partition("\n")[2].replace("](docs/", "](")  # the page has a title of its own


def recipe_keys() -> str:
    """Every key of a recipe, from the schema that recipes are checked against."""
    schema = recipe_schema()
    definitions = schema["$defs"]
    blocks = {"lm": "LMPart", "data": "DataConfig", "evaluate": "EvaluateConfig"}
    lines = ["## The whole recipe", *_table(schema["else"], schema["else"]["required"])]
    for block, name in blocks.items():
        lines += [f"## `{block}`", definitions[name].get("description", "")]
        lines += _table(definitions[name], definitions[name].get("required", []))
    ours = {
        key: value
        for key, value in definitions["TrainConfig"]["properties"].items()
        if key in ("unfreeze", "start_from")
    }
    lines += ["## `train`", f"Every key of `{_TRANSFORMERS['TrainConfig']}`, and:"]
    lines += _table({"properties": ours}, [])
    for kind in _KINDS:
        lines += [f"## `use:` of {_an(kind)}"]
        for name in sorted(found for found in definitions if found.startswith(f"{kind}.")):
            if name.count(".") == 1:
                part = definitions[name]
                lines += [f"### `{name.partition('.')[2]}`", part.get("description", "")]
                lines += _table(part, part.get("required", []))
    return "\n\n".join(line for line in lines if line)


def _an(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _table(block: Schema, required: list[str]) -> list[str]:
    """A block's keys as one Markdown table; `use` is what the heading says."""
    rows = [
        f"| `{key}` | {_type(value)} | {_default(key, value, required)} | {_said(value)} |"
        for key, value in block["properties"].items()
        if key != "use"
    ]
    head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    return ["\n".join([*head, *rows])] if rows else ["No options."]


def _type(value: Schema) -> str:
    return " or ".join(dict.fromkeys(_types(value))) or "any"


def _types(value: Schema) -> Iterator[str]:
    """Names of the types a key takes; null means that the key may be left out."""
    if "const" in value or "enum" in value:
        for word in value.get("enum", [value.get("const")]):
            yield f"`{word}`"
    elif "$ref" in value:
        yield value["$ref"].rpartition("/")[2].rpartition(".")[2]
    elif "anyOf" in value or "oneOf" in value:
        for choice in value.get("anyOf", value.get("oneOf")):
            yield from _types(choice)
    elif value.get("type") == "array":
        inner = _type(value["items"]) if isinstance(value.get("items"), dict) else "any"
        yield f"list of {inner}"
    elif value.get("type") != "null" and "type" in value:
        yield str(value["type"])


def _default(key: str, value: Schema, required: list[str]) -> str:
    if key in required:
        return "required"
    return f"`{value['default']}`" if value.get("default") is not None else ""


def _said(value: Schema) -> str:
    return " ".join(str(value.get("description", "")).split()).replace("|", r"\|")


_WRITERS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "recipe keys": recipe_keys,
    "security": security,
}
