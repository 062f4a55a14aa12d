"""A JSON Schema (2020-12) of recipes with the installed plugins, for editors."""

from __future__ import annotations

from typing import Any

from mmadapt.errors import MMAdaptError
from mmadapt.recipe.arguments import generation_config, training_arguments
from mmadapt.recipe.model_schema import Schema, described_properties, schema_of
from mmadapt.recipe.schema import EncoderPart, FusionPart, MixedPart, Part, Recipe, TrainConfig
from mmadapt.registry import Entry, Registry, get_registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Definition of a part: the kind it names, and the keys that are not the plugin's own.
PARTS: dict[str, tuple[str, type[Part]]] = {
    "encoder": ("encoder", EncoderPart),
    "fusion": ("fusion", FusionPart),
    "head": ("head", Part),
    "source": ("source", Part),
    "mixed_source": ("source", MixedPart),
    "metric": ("metric", Part),
}
CODE = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"


def recipe_schema(registry: Registry | None = None) -> Schema:
    """The schema of a recipe: every key with its type, range and description.

    `use:` decides which options a part has. A recipe that `extends:` another may leave out
    whatever that one says, and may remove a key with null. What depends on several values is told
    by `mmadapt check` alone.

    Args:
        registry: Names and their options; default: those of the installed plugins.
    """
    names = registry or get_registry()
    whole = schema_of(Recipe, "")
    definitions: Schema = whole.pop("$defs")
    for label, (kind, part) in PARTS.items():
        definitions |= _part_definitions(label, kind, part, names)
    _point_to_parts(whole["properties"], definitions)
    definitions["TrainConfig"] = _train_schema()
    definitions["EvaluateConfig"]["properties"]["generate"] = _generate_schema()
    for _, part in PARTS.values():
        definitions.pop(part.__name__, None)
    properties = whole.pop("properties")
    properties["extends"] = {
        "type": "string",
        "description": "Another recipe, relative to this file, that this one is laid over.",
    }
    required = whole.pop("required")
    return {
        "$schema": DIALECT,
        "title": "mmadapt recipe",
        "description": "What to build, to train and to evaluate; see `mmadapt check`.",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": _relaxed({"properties": properties, "additionalProperties": False}),
        "else": {
            "properties": properties,
            "additionalProperties": False,
            "required": required,
        },
        "$defs": definitions | {f"partial.{k}": _relaxed(v) for k, v in definitions.items()},
    }


def _part_definitions(label: str, kind: str, part: type[Part], registry: Registry) -> Schema:
    """`<label>`: a part whose `use` decides; `<label>.<name>`: the options of each name."""
    common: Schema = schema_of(part, "")["properties"]
    described = {row["name"]: row["summary"] for row in registry.describe(kind)}
    names = registry.names(kind)
    use: Schema = {
        "description": f"Name of the {kind}; its options follow.",
        "anyOf": [
            *({"const": name, "description": described.get(name, "")} for name in names),
            {"type": "string", "pattern": CODE, "description": "module:Class (--allow-code)"},
        ],
    }
    definitions: Schema = {}
    branches = []
    for name in names:
        try:
            entry = registry.get(kind, name)
            found = _options_of(label, entry, {**common, "use": {"const": name}})
        except MMAdaptError:
            continue  # a broken plugin: its name stands, its options are not known
        definitions |= found
        chosen = {"properties": {"use": {"const": name}}, "required": ["use"]}
        branches.append({"if": chosen, "then": {"$ref": f"#/$defs/{label}.{name}"}})
    definitions[label] = {
        "type": "object",
        "properties": {**common, "use": use},
        "required": ["use"],
        "allOf": branches,
    }
    return definitions


def _options_of(label: str, entry: Entry, common: Schema) -> Schema:
    """The definition of one name: its own options beside those of every part of its kind."""
    prefix = f"{label}.{entry.name}"
    found = schema_of(entry.config_class(), f"{prefix}.")
    definitions: Schema = found.pop("$defs")
    own = {**common, **found.get("properties", {}), "use": common["use"]}
    definitions[prefix] = {**found, "properties": own}
    return definitions


def _point_to_parts(properties: Schema, definitions: Schema) -> None:
    """Replace the plain parts of the recipe's own schema by those with options."""
    for key, kind in (("encoders", "encoder"), ("fusion", "fusion"), ("head", "head")):
        properties[key] = _repointed(properties[key], kind)
    definitions["DataConfig"] = _repointed(definitions["DataConfig"], "source")
    metrics = definitions["EvaluateConfig"]["properties"]["metrics"]
    names = definitions["metric"]["properties"]["use"]["anyOf"]
    metrics["items"] = {"anyOf": [*names, {"$ref": "#/$defs/metric"}]}


def _repointed(value: Any, kind: str) -> Any:
    """A schema whose references to plain parts lead to the parts of a kind."""
    if isinstance(value, list):
        return [_repointed(item, kind) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {f"#/$defs/{part.__name__}": label for label, (of, part) in PARTS.items() if of == kind}
    return {
        key: f"#/$defs/{plain[item]}" if key == "$ref" and item in plain else _repointed(item, kind)
        for key, item in value.items()
    }


def _train_schema() -> Schema:
    """The keys of `train`: our own and those of `transformers.TrainingArguments`."""
    from transformers import TrainingArguments

    own = schema_of(TrainConfig, "")
    theirs = described_properties(training_arguments(), TrainingArguments)
    return {
        "type": "object",
        "description": own["description"],
        "properties": {**theirs, **own["properties"]},
        "additionalProperties": False,
    }


def _generate_schema() -> Schema:
    """The keys of `evaluate.generate`: those of `transformers.GenerationConfig`."""
    from transformers import GenerationConfig

    return {
        "type": "object",
        "description": "Keys of `transformers.GenerationConfig`.",
        "properties": described_properties(generation_config(), GenerationConfig),
        "additionalProperties": False,
    }


def _relaxed(schema: Any) -> Any:
    """The schema of a block that is laid over another: nothing is required, null removes a key."""
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for key, value in schema.items():
        if key == "if":
            result[key] = value
        elif key == "required" and isinstance(value, list):
            continue
        elif key == "$ref":
            result[key] = value.replace("#/$defs/", "#/$defs/partial.")
        elif key in ("properties", "patternProperties"):
            result[key] = {name: _or_null(_relaxed(inner)) for name, inner in value.items()}
        elif key in ("const", "enum", "default", "description"):
            result[key] = value
        else:
            result[key] = _relaxed(value)
    return result


def _or_null(schema: Any) -> Any:
    """The schema, or null; what is said of it stays beside."""
    if not isinstance(schema, dict) or "const" in schema:
        return schema
    said = {key: schema[key] for key in ("description", "default") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in said}
    return {**said, "anyOf": [rest, {"type": "null"}]}
