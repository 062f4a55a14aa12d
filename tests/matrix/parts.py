"""What the matrix combines: fusions, language models, encoders and invariants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mmadapt.contracts import Encoder, EncoderInfo, FusionContext
from mmadapt.registry import get_registry
from mmadapt.testing import FusionContract
from mmadapt.testing.tiny import LM_CONFIGS, TinyEncoder
from mmadapt.types import MediaInputs
from tests.plugins.mmadapt_audio import tiny_audio
from tests.plugins.mmadapt_vision import tiny_vision

FAMILIES = tuple(LM_CONFIGS)
# What is promised, and the tests of `mmadapt.testing.FusionContract` that show it.
INVARIANTS: dict[str, tuple[str, ...]] = {
    "gradients": ("test_only_the_adapter_learns",),
    "loss": ("test_loss_is_the_lms_own",),
    "checkpointing": ("test_checkpointing_keeps_gradients",),
    "media": ("test_media_matter",),
    "cache": ("test_cache_changes_nothing", "test_candidates_from_the_cache"),
    "beams": ("test_beams",),
    "padding": ("test_padding_changes_nothing",),
    "absent media": ("test_samples_without_media",),
    "padded items": ("test_padded_items_are_not_read",),
    "detach": ("test_detach_leaves_the_base", "test_direct_calls_are_the_plain_lm"),
    "save": ("test_saved_and_loaded_is_the_same", "test_pickles_and_its_options_are_json"),
    "bfloat16": ("test_half_precision_lm", "test_autocast"),
    "meta": ("test_meta_device",),
}
LEFT_OUT = ("test_compiles_to_one_graph",)  # takes seconds a cell
_named = {*LEFT_OUT, *(name for names in INVARIANTS.values() for name in names)}
_more = [name for name in dir(FusionContract) if name.startswith("test_") and name not in _named]
if _more:  # what the contract has come to promise since
    INVARIANTS["others"] = tuple(_more)
SEES_PADDING = "the slot sees padding, so a sample depends on its batch"


@dataclass(frozen=True)
class FusionRow:
    """A fusion under test.

    Args:
        use: its name in a recipe.
        options: of its `Config`, from what is known of the encoder.
        noise: added to its parameters, so that zero gates open.
        tolerance: largest difference of logits between two equal computations.
        effect: smallest change of logits that other media must cause.
        declared: invariants that it does not promise, and why.
        needs_mlp: whether it hooks the MLPs of the encoder's blocks.
    """

    use: str
    options: Callable[[EncoderInfo], dict[str, Any]]
    noise: float = 0.05
    tolerance: float = 1e-5
    effect: float = 1e-3
    declared: Mapping[str, str] = field(default_factory=dict)
    needs_mlp: bool = False

    def make(self, context: FusionContext) -> Any:
        """Builds the fusion for the encoders and the LM."""
        cls = get_registry().get("fusion", self.use).load()
        info = next(iter(context.encoders.values()))
        return cls(cls.Config.model_validate(self.options(info)), context)


def _adem(info: EncoderInfo, **changes: Any) -> dict[str, Any]:
    height, width = info.grid or (1, 8)
    scales = [(height, width), (max(1, height // 2), max(1, width // 2))]
    own = {"scales": scales, "hidden_size": 8, "gamma": 0.3, "beta": 1.0, "media_norm": "layernorm"}
    return {**own, "cls": False, "bottleneck": None, **changes}


def _epalm(info: EncoderInfo, **changes: Any) -> dict[str, Any]:
    own = {"prompt_length": 4, "start": 1, "pool": "cls" if info.num_prefix_tokens else "mean"}
    return {**own, **changes}


def _evlm(info: EncoderInfo, **changes: Any) -> dict[str, Any]:
    own = {"num_levels": 2, "span": min(3, info.num_levels), "head_dim": 8, "num_tokens": 2}
    return {**own, "media_norm": "layernorm", **changes}


def _prefix(**options: Any) -> FusionRow:
    """Unscaled media tokens in the input make hidden states, and their rounding, larger."""
    return FusionRow("prefix", lambda _: options, tolerance=3e-5)


_MOE = {"num_replicas": 2, "num_slices": 2, "top_k": 2, "z_loss_coefficient": 0.01}
FUSIONS: dict[str, FusionRow] = {
    "adem": FusionRow("adem", _adem),
    "adem, CLS and bottlenecks": FusionRow(
        "adem",
        lambda info: _adem(
            info, alpha=0.2, beta=0.3, cls=info.num_prefix_tokens > 0, bottleneck=4, media_prefix=""
        ),
        needs_mlp=True,
    ),
    "epalm, causal": FusionRow("epalm", _epalm, noise=0.0),
    "epalm, published": FusionRow(
        "epalm",
        lambda info: _epalm(info, mode="published", end=3),
        noise=0.0,
        effect=1e-4,  # the last layer writes no slot, and windows hide it from long texts
        declared={
            "beams": SEES_PADDING,
            "padding": SEES_PADDING,
            "absent media": SEES_PADDING,
        },
    ),
    "evlm, dense": FusionRow("evlm", _evlm, noise=0.2),
    "evlm, experts": FusionRow("evlm", lambda info: _evlm(info, moe=_MOE), noise=0.2),
    "prefix, linear": _prefix(connector="linear"),
    "prefix, mlp": _prefix(connector="mlp"),
    "prefix, resampler": _prefix(connector="resampler", num_queries=3, num_blocks=1),
}


@dataclass(frozen=True)
class EncoderRow:
    """An encoder under test.

    Args:
        make: builds it; a saved model is read from the folder of its name.
        media: random media for so many samples.
        has_mlp: whether its blocks have an MLP module.
    """

    make: Callable[[], Encoder]
    media: Callable[[Any, int, int], MediaInputs]
    has_mlp: bool = True


@cache
def _folder(kind: str, name: str) -> str:
    """Saves a tiny model once in a process."""
    root = Path(_scratch().name) / kind
    {"vision": tiny_vision, "audio": tiny_audio}[kind].save_model(name, root / name)  # type: ignore[attr-defined]
    return str(root / name)


@cache
def _scratch() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="matrix-")


def _saved(use: str, kind: str, name: str, **options: Any) -> Callable[[], Encoder]:
    def make() -> Encoder:
        cls = get_registry().get("encoder", use).load()
        return cls(cls.Config(model=_folder(kind, name), **options))

    return make


def _pixels(encoder: Any, rows: int, seed: int) -> MediaInputs:
    """Noise as the processors of vision encoders give it: one file for each sample."""
    generator = torch.Generator().manual_seed(seed)
    items = 1 if encoder.modality == "image" else encoder.num_items
    frames = (encoder.num_frames,) if hasattr(encoder, "num_frames") else ()
    count = 1 if frames else items
    shape = (rows, count, *frames, 3, *encoder.spec.rule.size)
    values = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return {"values": values, "item": torch.zeros(rows, count, dtype=torch.long)}


def _sounds(encoder: Any, rows: int, seed: int) -> MediaInputs:
    sounds = [tiny_audio.sound(0.2 + 0.15 * row, seed=3 * seed + row) for row in range(rows)]
    return tiny_audio.batch_of(encoder, *sounds)


ENCODERS: dict[str, EncoderRow] = {
    "tiny": EncoderRow(TinyEncoder, lambda encoder, rows, seed: encoder.inputs(rows, seed=seed)),
    "vit": EncoderRow(_saved("vit", "vision", "clip_tower"), _pixels),
    "vit_frames": EncoderRow(_saved("vit_frames", "vision", "vit", num_frames=3), _pixels),
    "video": EncoderRow(_saved("video", "vision", "timesformer"), _pixels, has_mlp=False),
    "ast": EncoderRow(_saved("ast", "audio", "ast"), _sounds),
    "whisper": EncoderRow(
        _saved("whisper", "audio", "whisper", max_seconds=0.64, padding="max_seconds"),
        _sounds,
        has_mlp=False,
    ),
}
