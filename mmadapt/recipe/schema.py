"""The words of a recipe: every key outside a plugin's own options.

Options of a part belong to its plugin and are checked against that plugin's `Config`; keys of
`train` and `evaluate.generate` belong to transformers. `mmadapt.recipe.check` does both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag
from typing_extensions import TypedDict

from mmadapt.errors import Problem
from mmadapt.recipe.node import Node, Place, find, from_python, make

WORD = r"^[A-Za-z_][A-Za-z0-9_]*$"
FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"
SLICE = r"^(-?\d+)?:(-?\d+)?$"
PATTERNS = {  # what an error says instead of the expression
    WORD: "letters, digits and '_', a letter first",
    FILE_NAME: "a file name of letters, digits, '.', '_' and '-'",
    SLICE: "a slice in quotes, such as '32:'",
}
DEFAULT_SEED = 42  # of transformers.TrainingArguments
Name = Annotated[str, Field(pattern=WORD)]
FileName = Annotated[str, Field(pattern=FILE_NAME)]


class Strict(BaseModel):
    """A block in which an unknown key or a value of another type is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class Part(Strict):
    """A block that names a plugin with `use`; its other keys are that plugin's options."""

    model_config = ConfigDict(extra="allow")
    use: Annotated[str, Field(min_length=1)]

    @property
    def options(self) -> dict[str, Any]:
        """The plugin's options as written."""
        return dict(self.model_extra or {})


class EncoderPart(Part):
    """An encoder; its key in `encoders` is its name."""


class FusionPart(Part):
    """A fusion.

    Args:
        name: Its name; default: `use`. Needed when two fusions use the same plugin.
        encoders: Names of the encoders it serves; default: all.
        learning_rate: Its own learning rate; default: `train.learning_rate`.
    """

    name: Name | None = None
    encoders: Annotated[list[str], Field(min_length=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class LoraOptions(TypedDict, total=False):
    """LoRA on the LM beside the fusion (needs peft).

    Args:
        r: Rank of the update; default: 8.
        alpha: The update is scaled by alpha / r (peft's lora_alpha); default: 16.
        target_modules: Names of the LM's modules that get one; default: all linear layers.
        dropout: On the update's input (peft's lora_dropout); default: 0.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]
    r: Annotated[int, Field(ge=1)]
    alpha: Annotated[int, Field(ge=1)]
    target_modules: list[str]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class LMPart(Strict):
    """The frozen causal language model.

    Args:
        model: Hub id, folder, or `embedded:lm`.
        gguf_file: File of a GGUF model inside `model`; its weights are unpacked to `dtype`.
        revision: Git revision of a hub model.
        tokenizer: Hub id or folder of another tokenizer; default: the model's own.
        tokenizer_revision: Git revision of that tokenizer on the hub.
        dtype: Type of the frozen weights; `auto` is the checkpoint's own.
        attn_implementation: Attention of the LM; default: transformers' choice.
        quantization: Load the frozen weights in 8 or 4 bits (needs bitsandbytes).
        device_map: Handed to transformers, e.g. `auto`.
        dropout: Keep the LM's dropout while training.
        trust_remote_code: Run Python code that the model's repository holds.
        lora: LoRA beside the fusion (needs peft).
    """

    model: Annotated[str, Field(min_length=1)]
    gguf_file: Annotated[str, Field(min_length=1)] | None = None
    revision: str | None = None
    tokenizer: str | None = None
    tokenizer_revision: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    attn_implementation: Literal["sdpa", "eager"] | None = None
    quantization: Literal["8bit", "4bit"] | None = None
    device_map: str | None = None
    dropout: bool = False
    trust_remote_code: bool = False
    lora: LoraOptions | None = None


class MixedPart(Part):
    """One of several sources that are mixed.

    Args:
        weight: Its share of an epoch, relative to the others'; default (for all): every sample
            once.
    """

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


def _shape(value: Any) -> str:
    """Tell the two spellings of a union apart, so that errors speak of the one that was meant."""
    if isinstance(value, str):
        return "<name>"
    return "<list>" if isinstance(value, list) else "<part>"


class DataConfig(Strict):
    """Where samples come from.

    Args:
        train: Source of the training samples, or a list of sources to mix.
        validation: Source for tuning and for choosing the best checkpoint.
        test: Source of the reported numbers.
        max_bad_share: Share of a split's samples whose media may be unreadable, 0 to 1; they are
            named in `quarantine.jsonl`.
        max_length: Tokens that a sample may have, media and answer included; default: the LM's
            limit. Media are never cut.
        too_long: What to do with a longer sample: `error`, `skip`, or `truncate_prompt`, which cuts
            the beginning of the prompt.
        augment: Random augmentation of training media.
        shuffle_buffer: Streamed training samples that the next one is drawn from at random.
        audio_from_video: Each clip's own sound track is a further medium, for an audio encoder.
        cache: Keep what the fusions read of frozen encoders on disk (below `$MMADAPT_CACHE`), so
            that no media are decoded and encoded twice.
        cache_dtype: Type to keep it in; default: as it was computed.
        cache_gib: GiB that all cached features, of this recipe and others, may take.
    """

    train: (
        Annotated[
            Annotated[Part, Tag("<part>")]
            | Annotated[list[MixedPart], Tag("<list>"), Field(min_length=1)],
            Discriminator(_shape),
        ]
        | None
    ) = None
    validation: Part | None = None
    test: Part | None = None
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_length: Annotated[int, Field(ge=1)] | None = None
    too_long: Literal["error", "skip", "truncate_prompt"] = "error"
    augment: bool = False
    shuffle_buffer: Annotated[int, Field(ge=1)] = 1000
    audio_from_video: bool = False
    cache: bool = False
    cache_dtype: Literal["float32", "float16", "bfloat16"] | None = None
    cache_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 50.0

    @property
    def sources(self) -> dict[str, Part | list[MixedPart]]:
        """The sources that are given, by split."""
        splits: dict[str, Part | list[MixedPart] | None]
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: part for split, part in splits.items() if part is not None}


class Unfreeze(Strict):
    """Blocks of an encoder that train along with the fusion.

    Args:
        encoder: Name of the encoder.
        blocks: A Python slice of its blocks, e.g. `"32:"`.
        from_step: Optimiser steps that are done before they train.
        learning_rate: Their own learning rate; default: `train.learning_rate`.
    """

    encoder: str
    blocks: Annotated[str, Field(pattern=SLICE)] = ":"
    from_step: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class TrainConfig(Strict):
    """Training: the keys of `transformers.TrainingArguments`, and these.

    Args:
        unfreeze: Encoder blocks that train too.
        early_stopping_patience: Evaluations without improvement before training stops.
        start_from: Adapter or run folder of an earlier stage, whose weights training starts from.
        max_skipped_steps: Steps of the run that may be left out because their loss or gradient is
            no finite number; by default the first one is an error.
        verify_frozen: Prove by checksums, at every checkpoint and at the end, that nothing changed
            that is not declared trainable.
    """

    model_config = ConfigDict(extra="allow")
    unfreeze: list[Unfreeze] | None = None
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = None
    start_from: Annotated[str, Field(min_length=1)] | None = None
    max_skipped_steps: Annotated[int, Field(ge=0)] = 0
    verify_frozen: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys that belong to `transformers.TrainingArguments`."""
        return dict(self.model_extra or {})


class EvaluateConfig(Strict):
    """Evaluation.

    Args:
        metrics: Metric names, or parts where a metric takes options.
        generate: Keys of `transformers.GenerationConfig`.
        batch_size: Samples per batch; it changes the speed only.
        exact: Compute answers that hang on rounding errors again alone, and one at a time what
            beams search, so that the batch size does not decide.
        blind: Rows that show whether it is the media that speak: `removed`, `swapped` with another
            sample's, or a second adapter `trained` without media.
        num_examples: Predictions to print.
    """

    metrics: list[
        Annotated[
            Annotated[str, Tag("<name>"), Field(min_length=1)] | Annotated[Part, Tag("<part>")],
            Discriminator(_shape),
        ]
    ] = []
    generate: dict[str, Any] = {}
    batch_size: Annotated[int, Field(ge=1)] = 32
    exact: bool = True
    blind: list[Literal["removed", "swapped", "trained"]] = []
    num_examples: Annotated[int, Field(ge=0)] = 5

    @property
    def metric_parts(self) -> list[Part]:
        """All metrics as parts."""
        return [Part(use=item) if isinstance(item, str) else item for item in self.metrics]


class Recipe(Strict):
    """A whole recipe.

    Args:
        name: Name of the run; a safe file name.
        lm: The frozen language model.
        encoders: Frozen media models, by name.
        fusion: One fusion, or several composed in this order.
        head: The task.
        data: Where samples come from.
        train: How to train.
        evaluate: How to evaluate.
        departures: How this recipe differs from the published one: a sentence under a word each,
            so that a recipe that extends another may add, change or (null) drop one.
        configs: Folder, relative to the recipe, of `<model id>/config.json` files that
            `mmadapt check` reads in place of the hub's.
    """

    name: FileName
    lm: LMPart
    encoders: Annotated[dict[Name, EncoderPart], Field(min_length=1)]
    fusion: Annotated[
        Annotated[FusionPart, Tag("<part>")]
        | Annotated[list[FusionPart], Tag("<list>"), Field(min_length=1)],
        Discriminator(_shape),
    ]
    head: Part
    data: DataConfig = Field(default_factory=DataConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    departures: dict[Name, Annotated[str, Field(min_length=1)]] = {}
    configs: Annotated[str, Field(min_length=1)] | None = None
    _node: Node | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:  # where it was written does not matter
        return isinstance(other, Recipe) and self.model_dump() == other.model_dump()

    def problem(self, path: tuple[str | int, ...], message: str, hint: str = "") -> Problem:
        """Return a problem at the place where the value at a path was written."""
        key = ".".join(map(str, path))
        if self._node is None:
            return Place("recipe").problem(key, message, hint)
        return find(self._node, path).place.problem(key, message, hint)

    def folder_of(self, path: tuple[str | int, ...]) -> Path:
        """Return the folder of the file where a value was written; `.` for one without a file."""
        place = Place("recipe") if self._node is None else find(self._node, path).place
        return Path(place.file).parent if place.line else Path()

    def replaced(self, **values: Any) -> Recipe:
        """Return the recipe with top-level keys replaced; the others keep where they were written.

        Args:
            values: Schema objects by key, e.g. `fusion=FusionPart(use="prefix")`.
        """
        recipe = self.model_copy(update=values)
        if self._node is not None:
            place = Place(f"recipe '{self.name}'")
            written = from_python(recipe.model_dump(include=set(values)), place)
            recipe._node = make({**self._node.value, **written.value}, self._node.place)
        return recipe

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML; reading it gives an equal recipe."""
        from mmadapt.recipe.dump import dump_yaml

        return dump_yaml(self)

    def dump(self, path: str | Path) -> None:
        """Write the resolved recipe."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    @property
    def seed(self) -> int:
        """Return the seed of everything random in a run."""
        return int(self.train.arguments.get("seed", DEFAULT_SEED))

    @property
    def fusions(self) -> list[FusionPart]:
        """All fusions in order, each with its name and the encoders it serves filled in."""
        parts = self.fusion if isinstance(self.fusion, list) else [self.fusion]
        return [
            part.model_copy(
                update={
                    "name": part.name or default_name(part.use),
                    "encoders": part.encoders or list(self.encoders),
                }
            )
            for part in parts
        ]


def default_name(use: str) -> str:
    """Return the name of a part that gives none: its `use`, or the class of `module:Class`."""
    word = use.rpartition(":")[2].rpartition(".")[2] if ":" in use else use
    return "".join(letter if letter.isalnum() else "_" for letter in word)
