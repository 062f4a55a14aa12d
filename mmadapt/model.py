"""The composed model: frozen encoders and a frozen LM, joined by fusions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import ModelOutput

from mmadapt.adapters.module import AdapterModule
from mmadapt.attach import Attachment
from mmadapt.contracts import Encoder, Fusion, Head, encoder_info
from mmadapt.data.length import lm_limit, refuse_too_long
from mmadapt.errors import AttachError, DataError
from mmadapt.freezing.freeze import Undo, freeze, keep_statistics, silence_config
from mmadapt.generation.answers import answer, generate_batch
from mmadapt.generation.streaming import ended_by_errors
from mmadapt.lora import add_lora
from mmadapt.loss import batch_loss, labelled, untouched
from mmadapt.pieces import joined, pieces
from mmadapt.placement import embedding_device, is_placed, place
from mmadapt.types import Features, LevelSpec, MediaInputs, State, TextInputs


@dataclass
class MultimodalOutput(ModelOutput):
    """`loss` (a scalar, or None without labels) and `logits`.

    Logits are (1, k, v) at the k labelled positions, or (b, s, v) at all when asked for or without
    labels; then s counts the tokens that fusions inserted, and `text` says which those are.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    text: TextInputs | None = None


class MultimodalModel(AdapterModule):
    """A frozen LM that perceives through frozen encoders; only the fusions train.

    Args:
        lm: a causal LM of transformers.
        tokenizer: its tokenizer.
        encoders: frozen media models by name.
        fusions: applied in this order.
        head: the task.
        served: names of the encoders that each fusion reads; all by default.
        recipe: the recipe it was composed from, saved with the adapter.
        lm_dropout: leave the LM's own dropout alive in training.
        lora: LoRA in the LM beside the fusions: `r`, `alpha`, `target_modules`, `dropout`.

    Raises:
        AttachError: a fusion cannot be hooked into this LM, or two have the same name.
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        encoders: Mapping[str, Encoder],
        fusions: Sequence[Fusion],
        head: Head,
        *,
        served: Mapping[str, Sequence[str]] | None = None,
        recipe: Any = None,
        lm_dropout: bool = False,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        names = [fusion.name for fusion in fusions]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise AttachError(f"two fusions are named '{repeated[0]}'; give one another `name`")
        self.lm = lm
        self.tokenizer = tokenizer
        self.encoders = nn.ModuleDict(encoders)
        self.fusions = nn.ModuleDict({fusion.name: fusion for fusion in fusions})
        self.head = head
        self.recipe = recipe
        self.served = {name: tuple((served or {}).get(name, encoders)) for name in self.fusions}
        self._lm_dropout = lm_dropout
        self._loud: list[Undo] = []  # what gives configurations their dropout back
        undo = [freeze(lm, keep_dropout=lm_dropout), *map(freeze, encoders.values())]
        if lora is not None:  # before hooks are set, so that they see what LoRA makes of a layer
            undo.append(add_lora(lm, lora))
            named = lm.named_parameters()
            self.lora_names = frozenset(f"lm.{name}" for name, p in named if p.requires_grad)
        self._levels = self._wanted_levels(encoders)
        try:
            self.attachment = Attachment(lm, list(fusions), encoders)
        except BaseException:
            for give_back in reversed(undo):
                give_back()
            raise
        self.attachment.on_detach += [*undo, self._restore_configs]
        for name, count in self.blocks_read().items():
            if count:
                encoders[name].keep_blocks(count)

    def _wanted_levels(
        self, encoders: Mapping[str, Encoder]
    ) -> dict[str, dict[str, tuple[LevelSpec, ...]]]:
        return {
            name: {
                encoder: tuple(cast(Fusion, fusion).levels(encoder_info(encoders[encoder])))
                for encoder in self.served[name]
            }
            for name, fusion in self.fusions.items()
        }

    def blocks_read(self) -> dict[str, int]:
        """By encoder, how many of its first blocks the fusions read."""
        wanted = {name: [0] for name in self.encoders}
        for specs in self._levels.values():
            for name, levels in specs.items():
                wanted[name] += [level.block + 1 for level in levels]
        return {name: max(counts) for name, counts in wanted.items()}

    @property
    def device(self) -> torch.device:
        """Where the LM's embeddings are, and with them the encoders, fusions and batches."""
        return embedding_device(self.lm)

    @property
    def hf_device_map(self) -> Any:
        """Where the parts of a placed LM lie; trainers ask whether there is such a map.

        Raises:
            AttributeError: the LM is not placed so.
        """
        if not self.is_placed:
            raise AttributeError("hf_device_map")
        return getattr(self.lm, "hf_device_map", None) or {"": str(self.device)}

    @property
    def is_placed(self) -> bool:
        """Whether `lm.device_map` or `lm.quantization` fixed where the LM lies."""
        by_recipe = self.recipe is not None and self.recipe.lm.device_map is not None
        return by_recipe or is_placed(self.lm)

    def place(self, device: str | torch.device | None = None) -> MultimodalModel:
        """Moves what may be moved to a device; default: a GPU if there is one.

        An LM that transformers has placed stays where it is; encoders and fusions join it.

        Raises:
            ModelError: the LM is placed elsewhere, or the device cannot be used.
        """
        place(self, device)
        return self

    @property
    def config(self) -> Any:
        """The LM's configuration, where trainers look for sizes and cache settings."""
        return self.lm.config

    @property
    def _no_split_modules(self) -> Any:
        """The LM's layers, where accelerate asks what FSDP shards each for itself."""
        return getattr(self.lm, "_no_split_modules", None)

    def train(self, mode: bool = True) -> MultimodalModel:
        """Sets train or eval mode; frozen parts have neither dropout nor moving statistics."""
        super().train(mode)
        keep_statistics(self.lm)
        keep_statistics(self.encoders)
        self._restore_configs()
        if mode:
            silent = [self.encoders] if self._lm_dropout else [self.encoders, self.lm]
            self._loud = [silence_config(part) for part in silent]
        return self

    def _restore_configs(self) -> None:
        for restore in self._loud:
            restore()
        self._loud = []

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        media: Mapping[str, MediaInputs] | None = None,
        media_positions: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        return_logits: str = "labelled",
    ) -> MultimodalOutput:
        """Runs the LM with the media fused in.

        Args:
            input_ids: (b, s) text ids, padded on either side.
            attention_mask: (b, s), 1 at real tokens; all of them by default.
            labels: (b, s), -100 where nothing is predicted.
            media: per encoder its `MediaInputs`; an encoder without media in this batch is left
                out.
            media_positions: (b, m) columns before which the media files stand; default: the first.
            num_items_in_batch: what the summed loss is divided by; default: the labelled tokens
                or samples here, as the head's `loss` says.
            return_logits: `labelled` computes logits only where there are labels, `all` everywhere.

        Raises:
            DataError: no position of the batch is labelled.
        """
        features = self.encode(media or {})
        text = self.fused_text(input_ids, attention_mask, labels, media_positions, features)
        if text.input_ids.shape[1] > input_ids.shape[1]:
            # An absent token amid the text would take a place in a sliding window.
            text = text.padded_right()
        rows, targets = labelled(text)
        if labels is not None and rows.numel() == 0:
            raise DataError(
                "batch", None, "has no labelled token, so there is no loss to learn from"
            )
        only_labelled = labels is not None and return_logits == "labelled"
        state = State(text, labelled=rows if only_labelled else None)
        with self.prepared(state, features):
            output = self.lm(
                input_ids=text.input_ids,
                attention_mask=text.attention_mask.to(input_ids.dtype),
                use_cache=False,
            )
        if labels is None:
            return MultimodalOutput(None, output.logits, text)
        logits = output.logits
        if not only_labelled:
            logits = logits.flatten(0, 1)[rows.to(logits.device)]
        fusions = self.fusions.values()
        loss = batch_loss(logits, targets, num_items_in_batch, state, self.head, fusions)
        # In shards, all processes must have gradients of the same parameters.
        if torch.is_grad_enabled() and (not loss.requires_grad or isinstance(self, FSDPModule)):
            loss = loss + untouched(self.trainable_parameters().values()).to(loss)
        return MultimodalOutput(loss, output.logits, text)

    def encode(self, media: Mapping[str, MediaInputs]) -> dict[str, dict[str, Features]]:
        """Runs each encoder once and reduces its levels for every fusion that reads it.

        Returns:
            By fusion name, then by encoder name.
        """
        result: dict[str, dict[str, Features]] = {name: {} for name in self.fusions}
        for name in self.encoders:  # in their own order, whichever medium a batch has first
            if name not in media:
                continue
            inputs = media[name]
            wanted = {f: specs[name] for f, specs in self._levels.items() if name in specs}
            union = list(dict.fromkeys(level for specs in wanted.values() for level in specs))
            if not union:
                continue
            encoder = cast(Encoder, self.encoders[name])
            learns = name in self.attachment.rewritten or _trains(encoder)
            found: dict[str, list[Features]] = {name: [] for name in wanted}
            with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
                for piece in pieces(encoder, inputs):
                    features = encoder(piece, union)
                    for fusion_name, specs in wanted.items():
                        levels = tuple(features.levels[union.index(level)] for level in specs)
                        own = replace(features, levels=levels)
                        fusion = cast(Fusion, self.fusions[fusion_name])
                        reduce = fusion.reduce if fusion.reduces_alone else fusion.reduce_each
                        found[fusion_name].append(reduce(own))
            for fusion_name, parts in found.items():
                fusion, whole = cast(Fusion, self.fusions[fusion_name]), joined(parts)
                result[fusion_name][name] = whole if fusion.reduces_alone else fusion.reduce(whole)
        return result

    def fused_text(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor | None,
        media_positions: Tensor | None,
        features: Mapping[str, Mapping[str, Features]],
    ) -> TextInputs:
        """The text of a batch with every fusion's own tokens in it."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if media_positions is None:
            # The first real token; a text may be empty.
            media_positions = nn.functional.pad(mask, (0, 1), value=1).long().argmax(1, True)
        text = TextInputs(input_ids, mask.bool(), labels, media_positions)
        for name, fusion in self.fusions.items():
            text = cast(Fusion, fusion).embeds(text, features[name])
        raised = None if self.recipe is None else self.recipe.data.max_length
        refuse_too_long(text, lm_limit(self.lm.config, raised))
        if self.tokenizer is None or self.tokenizer.pad_token_id is None or not text.spans:
            return text
        own = torch.stack(list(text.spans.values())).amax(dim=0) > 0
        return replace(text, input_ids=text.input_ids.masked_fill(own, self.tokenizer.pad_token_id))

    @contextmanager
    def prepared(
        self, state: State, features: Mapping[str, Mapping[str, Features]], beams: int = 1
    ) -> Iterator[State]:
        """Makes the fusions' memories; the LM reads them inside the block."""
        for name, fusion in self.fusions.items():
            state.memories[name] = cast(Fusion, fusion).prepare(features[name], state)
        with self.attachment.bind(state.expand(beams)) as bound:
            yield bound

    def generate_batch(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        media: Mapping[str, MediaInputs] | None = None,
        media_positions: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Generates from a tokenised batch with the LM's own `generate` and its cache.

        Args:
            input_ids: (b, s) prompts, padded on either side; they are moved to the left side.
            attention_mask: (b, s), 1 at real tokens.
            media: as in `forward`.
            media_positions: as in `forward`.
            options: of `transformers.GenerationConfig`, and a `streamer`; greedy unless they say
                otherwise, without a cache where a fusion is not causal.

        Returns:
            (b, new) ids of the new tokens, or what `return_dict_in_generate` returns.

        Raises:
            DataError: a prompt is empty and no fusion inserts anything.
        """
        with ended_by_errors(options.get("streamer")):
            return generate_batch(self, input_ids, attention_mask, media, media_positions, options)

    def generate(
        self,
        *,
        video: Any = None,
        image: Any = None,
        audio: Any = None,
        prompt: str | list[Any] | None = None,
        choices: list[str] | list[list[str]] | None = None,
        **options: Any,
    ) -> str | list[str]:
        """Answers about media: paths, arrays, PIL images, tensors; lists of them are a batch.

        Args:
            video: a file, (t, h, w, 3) frames, or a list of PIL images (one clip).
            image: a file, a PIL image or an (h, w, 3) array; in a batch also a list of these, for
                a sample with several.
            audio: a file, or a mono waveform with its rate, `(waveform, sampling_rate)`.
            prompt: the text before the answer, the question or the user's turn, as the head has it,
                or a list of messages (chat); default: the head's own.
            choices: answers to choose among, where the head does (classify, choice).
            options: of `transformers.GenerationConfig`, e.g. `max_new_tokens`, `num_beams`, and a
                `streamer` of transformers, which is shown the prompt (unless it skips it) and then
                every new token; what a head makes of the text is returned only.

        Returns:
            One answer, or a list for a batch.

        Raises:
            MediaError: a file cannot be read.
            DataError: lists of different lengths, or no media and no prompt.

        Example:
            >>> model.generate(video="clip.mp4")  # doctest: +SKIP
            'a red circle moving left'
        """
        media = {"video": video, "image": image, "audio": audio}
        with ended_by_errors(options.get("streamer")):
            return answer(self, media, prompt, options, choices)

    @property
    def processors(self) -> dict[str, tuple[str, Any]]:
        """By encoder name: its modality and its processor."""
        return {
            name: (cast(Encoder, encoder).modality, cast(Encoder, encoder).processor)
            for name, encoder in self.encoders.items()
        }

    @property
    def modalities(self) -> list[str]:
        """What this model perceives."""
        return sorted({modality for modality, _ in self.processors.values()})

    def require_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer.

        Raises:
            DataError: the model was composed without one.
        """
        if self.tokenizer is None:
            raise DataError("model", None, "was composed without a tokenizer; pass tokenizer=")
        return self.tokenizer

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Recomputes the LM's layers in the backward pass instead of keeping their activations.

        Args:
            gradient_checkpointing_kwargs: of `torch.utils.checkpoint.checkpoint`.
            options: what the LM's own method takes besides (`every_n_layers`, `offload`).
        """
        # Newer transformers call it by the second name, and warn of the first.
        own = getattr(self.lm, "activation_checkpointing_enable", None)
        own = own or self.lm.gradient_checkpointing_enable
        own(gradient_checkpointing_kwargs or {"use_reentrant": False}, **options)

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """The same under the name that newer versions of transformers' trainer call."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **options)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the activations again."""
        own = getattr(self.lm, "activation_checkpointing_disable", None)
        (own or self.lm.gradient_checkpointing_disable)()


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
