"""A recipe as YAML text that reads back as an equal recipe."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from mmadapt.recipe.text import scalar


class _Dumper(yaml.SafeDumper):
    """Quotes whatever `mmadapt.recipe.text` would not read back as text; repeats, never aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    is_plain = isinstance(scalar(value), str) and value.replace("\n", "").isprintable()
    style = None if is_plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.SequenceNode:
    is_flat = not any(isinstance(item, dict) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=is_flat)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def dump_yaml(recipe: BaseModel) -> str:
    """Return a recipe as YAML, defaults filled in, keys in the order of the schema."""
    return str(
        yaml.dump(
            _filled(recipe),
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=100,
            default_flow_style=False,
        )
    )


def _filled(value: Any) -> Any:
    """Return plain data with defaults, without the declared keys that are None or left empty."""
    if isinstance(value, BaseModel):
        known = {
            name: _filled(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if getattr(value, name) is not None and (getattr(value, name) or field.default != {})
        }
        return known | {name: _filled(item) for name, item in (value.model_extra or {}).items()}
    if isinstance(value, dict):
        return {name: _filled(item) for name, item in value.items()}
    return [_filled(item) for item in value] if isinstance(value, list) else value
