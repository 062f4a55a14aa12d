"""One pass over the parts of a recipe: look up, import, validate options, compare names."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mmadapt.errors import MMAdaptError, Problem, did_you_mean
from mmadapt.plugins import first_line
from mmadapt.recipe.arguments import generate_problems, train_problems
from mmadapt.recipe.node import Node, Steps, child, find, plain
from mmadapt.recipe.problems import expected_words, from_pydantic
from mmadapt.recipe.schema import EncoderPart, FusionPart, MixedPart, Part, default_name
from mmadapt.registry import Entry, Registry

P = TypeVar("P", bound=Part)
_EXTRAS = {
    "gguf_file": ("gguf", "gguf"),
    "quantization": ("bitsandbytes", "quantization"),
    "lora": ("peft", "lora"),
}


@dataclass(frozen=True)
class ResolvedPart:
    """A part with its class and validated options.

    Args:
        name: Key of the encoder, name of the fusion, `head`, split of the source, metric name.
        entry: Where the class was found.
        cls: The class.
        config: An instance of the class's `Config`.
        parts: Of a split that mixes several sources, each of them; the class is the first one's.
        weights: Their shares of an epoch; None: every sample once.
    """

    name: str
    entry: Entry
    cls: Any
    config: Any
    parts: tuple[ResolvedPart, ...] = ()
    weights: tuple[float, ...] | None = None


class PartChecker:
    """Looks at every part of a tree; blocks that the schema refuses are passed over."""

    def __init__(self, node: Node, registry: Registry, allow_code: bool) -> None:
        self.node, self.registry, self.allow_code = node, registry, allow_code
        self.problems: list[Problem] = []
        self.found: dict[str, list[ResolvedPart]] = {
            kind: [] for kind in ("encoder", "fusion", "head", "source", "metric")
        }

    def run(self) -> None:
        """Check all parts, then what they say about one another."""
        self.lm()
        for name in self.keys("encoders"):
            self.part("encoder", ("encoders", name), EncoderPart, name)
            self.scheme(("encoders", name, "model"))
        self.fusions()
        self.part("head", ("head",), Part, "head")
        for split in ("train", "validation", "test"):
            self.sources(split)
        self.metrics()
        self.unfreeze()
        self.problems += train_problems(self.node) + generate_problems(self.node)

    def lm(self) -> None:
        """Check what the LM needs that can be known without loading it."""
        self.scheme(("lm", "model"))
        self.scheme(("lm", "tokenizer"))
        if self.value("lm", "tokenizer_revision") and not self.value("lm", "tokenizer"):
            message = "belongs to lm.tokenizer, which is not set"
            self.add(("lm", "tokenizer_revision"), message, "the model's own is of lm.revision")
        for key, (module, extra) in _EXTRAS.items():
            if self.value("lm", key) is not None and importlib.util.find_spec(module) is None:
                message = f"needs the package '{module}', which is not installed"
                self.add(("lm", key), message, f"pip install 'mmadapt[{extra}]'")

    def scheme(self, path: Steps) -> None:
        """Check that `scheme:name` in place of a model names a registered scheme."""
        model = self.value(*path)
        match = re.match(r"([A-Za-z][\w.-]+):", model) if isinstance(model, str) else None
        if match and not os.path.exists(model):  # False, too, for what can be no path
            try:
                self.registry.get("weights", match[1])
            except MMAdaptError as error:
                self.add(path, str(error))

    def part(self, kind: str, path: Steps, model: type[P], name: str | None) -> P | None:
        """Resolve one part into `found`; return it as the schema reads it."""
        node = find(self.node, path)
        value = {"use": node.value} if isinstance(node.value, str) and kind == "metric" else None
        try:
            text = json.dumps(value or plain(node))
            part = model.model_validate_json(text, strict=True)
        except ValidationError:
            return None  # the schema has told
        at = path if value else (*path, "use")
        try:
            entry = self.registry.get(kind, part.use, self.allow_code)
            cls = entry.part_class()
            config_class = entry.config_class()
        except MMAdaptError as error:
            self.add(at, str(error))
            return part
        config = self.config(config_class, part, entry, path)
        self.found[kind].append(ResolvedPart(name or part.use, entry, cls, config))
        return part

    def config(
        self, config_class: type[BaseModel], part: Part, entry: Entry, path: Steps
    ) -> BaseModel | None:
        """Validate the options of a part."""
        try:
            return config_class.model_validate_json(json.dumps(part.options), strict=True)
        except ValidationError as error:
            unknown = f"unknown option of {entry}"
            also = type(part).model_fields
            self.problems += from_pydantic(error, self.node, config_class, path, unknown, also)
        except Exception as error:  # a stranger's validator may raise anything
            self.add(path, f"the options of {entry} cannot be checked: {first_line(error)}")
        return None

    def fusions(self) -> None:
        """Check fusions, their names and the encoders they serve."""
        root = self.value("fusion")
        steps = range(len(root)) if isinstance(root, list) else (None,)
        names: dict[str, int] = {}
        served: set[str] = set()
        complete = True
        for index in steps:
            path: Steps = ("fusion",) if index is None else ("fusion", index)
            use = self.value(*path, "use")
            name = self.value(*path, "name") or (default_name(use) if isinstance(use, str) else "")
            part = self.part("fusion", path, FusionPart, str(name))
            complete = complete and part is not None
            if part is None:
                continue
            served |= set(part.encoders or self.keys("encoders"))
            complete = self.known_encoders((*path, "encoders"), part.encoders or []) and complete
            if str(name) in names:
                hint = "give each a `name:` of its own"
                self.add(path, f"two fusions are called '{name}'", hint)
            names[str(name)] = len(names)
        for encoder in self.keys("encoders") if complete else ():
            if encoder not in served:
                self.add(
                    ("encoders", encoder),
                    f"no fusion serves the encoder '{encoder}'",
                    "name it in the `encoders:` of a fusion, or remove it",
                )

    def sources(self, split: str) -> None:
        """Check the source of a split, or each of several that it mixes."""
        value = self.value("data", split)
        if not isinstance(value, list):
            if value is not None:
                self.part("source", ("data", split), Part, split)
            return
        mixed = [
            self.part("source", ("data", split, index), MixedPart, f"{split}.{index}")
            for index in range(len(value))
        ]
        weights = [part.weight for part in mixed if part is not None]
        if None in weights and any(weights):
            hint = "give every source a weight, or none"
            self.add(("data", split, weights.index(None)), "has no weight; others have", hint)

    def metrics(self) -> None:
        """Check metrics, each of which may be listed once."""
        names: set[str] = set()
        for index, node in enumerate(self.items("evaluate", "metrics")):
            path: Steps = ("evaluate", "metrics", index)
            part = self.part("metric", path, Part, None)
            if part is not None and part.use in names:
                self.problems.append(
                    node.place.problem(f"evaluate.metrics.{index}", f"'{part.use}' is listed twice")
                )
            names |= {part.use} if part is not None else set()

    def known_encoders(self, path: Steps, names: list[str]) -> bool:
        """Check a list of encoder names; return whether all are known."""
        known = self.keys("encoders")
        for index, name in enumerate(names):
            if name not in known:
                self.add(
                    (*path, index),
                    f"unknown encoder '{name}'{expected_words(known)}",
                    did_you_mean(name, known),
                )
        return set(names) <= set(known)

    def unfreeze(self) -> None:
        """Check the encoders that `train.unfreeze` names."""
        known = self.keys("encoders")
        for index in range(len(self.items("train", "unfreeze"))):
            path = ("train", "unfreeze", index, "encoder")
            name = self.value(*path)
            if isinstance(name, str) and name not in known:
                self.add(
                    path,
                    f"unknown encoder '{name}'{expected_words(known)}",
                    did_you_mean(name, known),
                )

    def value(self, *path: str | int) -> Any:
        """Return the plain value at a path, None where nothing stands."""
        node = self.node
        for step in path:
            inner = child(node, step)
            if inner is None:
                return None
            node = inner
        return plain(node) if isinstance(node.value, dict) else node.value

    def keys(self, *path: str) -> list[str]:
        """Return the keys of the mapping at a path."""
        value = self.value(*path)
        return list(value) if isinstance(value, dict) else []

    def items(self, *path: str) -> list[Node]:
        """Return the items of the list at a path."""
        value = self.value(*path)
        return value if isinstance(value, list) else []

    def add(self, path: Steps, message: str, hint: str = "") -> None:
        """Record a problem at the value at a path."""
        place = find(self.node, path).place
        self.problems.append(place.problem(".".join(map(str, path)), message, hint))
