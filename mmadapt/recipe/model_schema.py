"""The JSON Schema of one pydantic model, described by its docstrings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from mmadapt.recipe.docs import options, summary

Schema = dict[str, Any]


class _Generator(GenerateJsonSchema):
    """Adds what docstrings say, and leaves out titles that repeat the key."""

    def model_schema(self, schema: Any) -> Schema:
        return _documented(super().model_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: Any) -> Schema:
        return _documented(super().typed_dict_schema(schema), schema["cls"])

    def dict_schema(self, schema: Any) -> Schema:
        found = super().dict_schema(schema)
        return {
            **found,
            **({"additionalProperties": False} if "patternProperties" in found else {}),
        }

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(model: type[BaseModel], prefix: str) -> Schema:
    """The schema of a model; its definitions are called `<prefix><class>`."""
    found = model.model_json_schema(
        schema_generator=_Generator, ref_template=f"#/$defs/{prefix}{{model}}"
    )
    inner = found.pop("$defs", {})
    return {**found, "$defs": {f"{prefix}{name}": value for name, value in inner.items()}}


def _documented(schema: Schema, cls: type) -> Schema:
    """Fill in descriptions from the docstring of the class."""
    said = options(cls)
    for name, value in schema.get("properties", {}).items():
        if "description" not in value and name in said:
            value["description"] = said[name]
    text = summary(cls)
    if text:
        schema["description"] = text
    return {key: value for key, value in schema.items() if key != "title"}


def described_properties(model: type[BaseModel], owner: type) -> Schema:
    """The properties of a model of keys, with what the owner's docstring says of them."""
    found = model.model_json_schema(schema_generator=_Generator)
    said, properties = options(owner), found.get("properties", {})
    inner = found.get("$defs", {})
    for name, value in properties.items():
        value.pop("default", None)  # of our model: always null
        if name in said:
            value["description"] = said[name]
    return {name: _inlined(value, inner) for name, value in properties.items()}


def _inlined(value: Any, definitions: Schema) -> Any:
    """References replaced by what they point to (enumerations of transformers)."""
    if isinstance(value, dict) and "$ref" in value:
        inner = definitions[value["$ref"].rpartition("/")[2]]
        rest = {key: item for key, item in value.items() if key != "$ref"}
        return {**{key: item for key, item in inner.items() if key != "title"}, **rest}
    if isinstance(value, dict):
        return {key: _inlined(item, definitions) for key, item in value.items()}
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    return value
