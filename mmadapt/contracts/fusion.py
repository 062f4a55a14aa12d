"""Fusion: the trainable module that mixes media into a frozen language model.

Every method has an identity default. A fusion overrides what it uses; only those sites get hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel
from torch import Tensor, nn

from mmadapt.types import Features, LevelSpec, Memory, Modality, State, TextInputs

if TYPE_CHECKING:
    from mmadapt.contracts.encoder import Encoder

SITES = ("layer_input", "attention_input", "attention_output", "mlp_input", "mlp_output")


@dataclass(frozen=True)
class EncoderInfo:
    """What a fusion may know of an encoder before any weights are loaded."""

    modality: Modality
    hidden_size: int
    num_levels: int
    num_items: int = 1
    num_prefix_tokens: int = 0
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class FusionContext:
    """What a fusion is built for: its name, the LM's sizes and the encoders it serves.

    `embedding_size` is the width of the token embeddings, which differs from `hidden_size` in
    OPT-350M. `tokenize` turns text into ids without special tokens, or is None where no tokenizer
    is at hand.
    """

    name: str
    hidden_size: int
    embedding_size: int
    num_layers: int
    num_attention_heads: int
    encoders: Mapping[str, EncoderInfo]
    tokenize: Callable[[str], list[int]] | None = None


@dataclass(frozen=True)
class Rewrite:
    """An edit of frozen modules: the encoders that now carry gradients, and its undoing."""

    encoders: frozenset[str]
    undo: Callable[[], None]


class Fusion(nn.Module):
    """Base of all fusions.

    Args:
        config: an instance of the class's own `Config`.
        context: sizes of the LM and of the encoders served.
    """

    Config: ClassVar[type[BaseModel]]
    causal: bool = True  # False: a position may read later ones, so generation uses no cache
    reduces_alone: bool = False  # True: `reduce` treats each item alone, so long media go in pieces
    has_started: bool = False  # True: its own options gave it weights; `train.start_from` has none

    def __init__(self, config: Any, context: FusionContext) -> None:
        super().__init__()
        self.config = config
        self.context = context
        self.name = context.name

    # What is read from the encoders.
    def levels(self, encoder: EncoderInfo) -> Sequence[LevelSpec]:
        """The levels this fusion reads, in its own order; by default the last, final-normed."""
        return [LevelSpec(encoder.num_levels - 1, normed=True)]

    def reduce(self, features: Features) -> Features:
        """Parameter-free reduction (pooling, picking CLS); what the feature cache stores."""
        return features

    def reduce_each(self, features: Features) -> Features:
        """What of `reduce` can be done to a piece of long media; `reduce` may then get its results.

        `reduce(reduce_each(x))` must equal `reduce(x)`. Where the fusion `reduces_alone`, `reduce`
        itself gets the pieces.
        """
        return features

    def reduce_options(self) -> Mapping[str, Any]:
        """What `reduce` depends on; it names cached features. By default all options."""
        return dict(self.config) if isinstance(self.config, BaseModel) else vars(self.config)

    # Once per batch.
    def prepare(self, features: Mapping[str, Features], state: State) -> Memory:
        """Projects reduced features, by encoder name, into what the hooks read; b or 1 rows first.

        An encoder is missing from `features` when no sample of the batch has its media.
        """
        return None

    def embeds(self, inputs: TextInputs, features: Mapping[str, Features]) -> TextInputs:
        """Inserts this fusion's own tokens into the text."""
        return inputs

    @property
    def enters_at(self) -> int:
        """The first LM layer that sees its own tokens; without a cache, those below run without.

        Above 0 it must hide its tokens below, where with a cache they are there all the same, and
        write each of them at that layer: they come as zeros, or as whatever passed through. They
        stay in all layers where `layer_input` is not its only site, or other fusions act below.
        """
        return 0

    # At every layer of `layers`.
    def layers(self, num_layers: int) -> Iterable[int]:
        """The LM layers at which this fusion acts."""
        return range(num_layers)

    def sites(self) -> set[str]:
        """The sites that get hooks; by default those whose method is overridden."""
        return {site for site in SITES if getattr(type(self), site) is not getattr(Fusion, site)}

    def layer_input(
        self, i: int, hidden_states: Tensor, mask: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor | None]:
        """Changes what layer `i` reads: `hidden_states` (b, s, d) and its attention mask."""
        return hidden_states, mask

    def attention_input(self, i: int, x: Tensor, state: State) -> Tensor:
        """Changes the input (b, s, d) of layer `i`'s self-attention."""
        return x

    def attention_output(self, i: int, x: Tensor, y: Tensor, state: State) -> Tensor:
        """Changes what layer `i`'s self-attention adds to the residual; `x` was its input."""
        return y

    def mlp_input(self, i: int, x: Tensor, state: State) -> Tensor:
        """Changes the input (b, s, d) of layer `i`'s MLP."""
        return x

    def mlp_output(self, i: int, x: Tensor, y: Tensor, state: State) -> Tensor:
        """Changes what layer `i`'s MLP adds to the residual; `x` was its input."""
        return y

    # Around the model.
    def check_start(self) -> None:
        """Raises where weights that its options name to start from are missing.

        Asked before training and by `check`, not where a trained adapter is loaded.
        """

    def rewrite(self, encoders: Mapping[str, Encoder], lm: nn.Module) -> Rewrite | None:
        """Edits frozen modules in place (bottlenecks in an encoder); None if it does not."""
        return None

    @property
    def edits_encoders(self) -> bool:
        """Whether `rewrite` edits an encoder, so that its features change while it trains."""
        return False

    def aux_loss(self, state: State) -> Tensor | None:
        """A loss to add, read from `state.aux[self.name]`, keyed by layer."""
        return None

    def param_groups(
        self, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]] | None:
        """Optimiser groups of this fusion's parameters; None for the trainer's usual two."""
        return None

    def kind_of(self, parameter: str) -> str:
        """What `mmadapt check` counts a parameter of this name as; by default its top module."""
        return parameter.partition(".")[0]

    def departures(self) -> list[str]:
        """How this configuration differs from the published method, one plain sentence each."""
        return []


def encoder_info(encoder: Any) -> EncoderInfo:
    """The `EncoderInfo` of a built encoder."""
    return EncoderInfo(
        encoder.modality,
        encoder.hidden_size,
        encoder.num_levels,
        encoder.num_items,
        encoder.num_prefix_tokens,
        encoder.grid,
    )
