"""The composed model: frozen encoders and a frozen LM, joined by fusions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import ModelOutput

from mmadapt.attach import Attachment
from mmadapt.contracts import Encoder, Fusion, Head, encoder_info
from mmadapt.errors import AttachError, DataError
from mmadapt.freeze import freeze, keep_statistics
from mmadapt.types import IGNORE_INDEX, Features, LevelSpec, MediaInputs, State, TextInputs


@dataclass
class MultimodalOutput(ModelOutput):
    """`loss` (a scalar, or None without labels) and `logits`.

    Logits are (1, k, v) at the k labelled positions, or (b, s, v) at all when asked for or without
    labels; then s counts the tokens that fusions inserted, and `text` says which those are.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    text: TextInputs | None = None


class MultimodalModel(nn.Module):
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
        freeze(lm, keep_dropout=lm_dropout)
        for encoder in encoders.values():
            freeze(encoder)
        self._levels = self._wanted_levels(encoders)
        self.attachment = Attachment(lm, list(fusions), encoders)
        for name, encoder in encoders.items():
            wanted = [
                level.block + 1 for specs in self._levels.values() for level in specs.get(name, ())
            ]
            if wanted:
                encoder.keep_blocks(max(wanted))

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

    @property
    def device(self) -> torch.device:
        """Where the LM's embeddings are."""
        return cast(Tensor, self.lm.get_input_embeddings().weight).device

    @property
    def config(self) -> Any:
        """The LM's configuration, where trainers look for sizes and cache settings."""
        return self.lm.config

    def train(self, mode: bool = True) -> MultimodalModel:
        """Sets train or eval mode; batch-norm statistics of frozen parts never move."""
        super().train(mode)
        keep_statistics(self.lm)
        keep_statistics(self.encoders)
        return self

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
                here.
            return_logits: `labelled` computes logits only where there are labels, `all` everywhere.

        Raises:
            DataError: no position of the batch is labelled.
        """
        features = self.encode(media or {})
        text = self._text(input_ids, attention_mask, labels, media_positions, features)
        if text.input_ids.shape[1] > input_ids.shape[1]:
            # An absent token amid the text would take a place in a sliding window.
            text = text.padded_right()
        rows, targets = _labelled(text)
        if labels is not None and rows.numel() == 0:
            raise DataError(
                "batch", None, "has no labelled token, so there is no loss to learn from"
            )
        only_labelled = labels is not None and return_logits == "labelled"
        state = State(text, labelled=rows if only_labelled else None)
        with self._prepared(state, features):
            output = self.lm(
                input_ids=text.input_ids,
                attention_mask=text.attention_mask.to(input_ids.dtype),
                use_cache=False,
            )
        if labels is None:
            return MultimodalOutput(None, output.logits, text)
        logits = output.logits if only_labelled else output.logits.flatten(0, 1)[rows]
        loss = nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), targets, reduction="sum"
        )
        loss = loss / (rows.numel() if num_items_in_batch is None else num_items_in_batch)
        for fusion in self.fusions.values():
            extra = cast(Fusion, fusion).aux_loss(state)
            loss = loss if extra is None else loss + extra
        return MultimodalOutput(loss, output.logits, text)

    def encode(self, media: Mapping[str, MediaInputs]) -> dict[str, dict[str, Features]]:
        """Runs each encoder once and reduces its levels for every fusion that reads it.

        Returns:
            By fusion name, then by encoder name.
        """
        result: dict[str, dict[str, Features]] = {name: {} for name in self.fusions}
        for name, inputs in media.items():
            wanted = {f: specs[name] for f, specs in self._levels.items() if name in specs}
            union = list(dict.fromkeys(level for specs in wanted.values() for level in specs))
            if not union:
                continue
            encoder = cast(Encoder, self.encoders[name])
            learns = name in self.attachment.rewritten or _trains(encoder)
            with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
                features = encoder(inputs, union)
            for fusion_name, specs in wanted.items():
                levels = tuple(features.levels[union.index(level)] for level in specs)
                fusion = cast(Fusion, self.fusions[fusion_name])
                result[fusion_name][name] = fusion.reduce(replace(features, levels=levels))
        return result

    def _text(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor | None,
        media_positions: Tensor | None,
        features: Mapping[str, Mapping[str, Features]],
    ) -> TextInputs:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if media_positions is None:
            # The first real token; a text may be empty.
            media_positions = nn.functional.pad(mask, (0, 1), value=1).long().argmax(1, True)
        text = TextInputs(input_ids, mask.bool(), labels, media_positions)
        for name, fusion in self.fusions.items():
            text = cast(Fusion, fusion).embeds(text, features[name])
        if self.tokenizer is None or self.tokenizer.pad_token_id is None or not text.spans:
            return text
        own = torch.stack(list(text.spans.values())).amax(dim=0) > 0
        return replace(text, input_ids=text.input_ids.masked_fill(own, self.tokenizer.pad_token_id))

    @contextmanager
    def _prepared(
        self, state: State, features: Mapping[str, Mapping[str, Features]], beams: int = 1
    ) -> Iterator[State]:
        for name, fusion in self.fusions.items():
            state.memories[name] = cast(Fusion, fusion).prepare(features[name], state)
        with self.attachment.bind(state.expand(beams)) as bound:
            yield bound

    @torch.no_grad()
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
            options: of `transformers.GenerationConfig`; greedy unless they say otherwise, and
                without a cache where a fusion is not causal.

        Returns:
            (b, new) ids of the new tokens, or what `return_dict_in_generate` returns.

        Raises:
            DataError: a prompt is empty and no fusion inserts anything.
        """
        was_training = self.training
        self.eval()
        try:
            features = self.encode(media or {})
            text = self._text(input_ids, attention_mask, None, media_positions, features)
            if not bool(text.attention_mask.any(dim=1).all()):
                raise DataError(
                    "generate", None, "a prompt is empty, so there is nothing to continue; give one"
                )
            text = text.padded_left()
            options, beams = self._generation_options(options)
            with self._prepared(State(text), features, beams):
                output = cast(Any, self.lm).generate(
                    input_ids=text.input_ids,
                    attention_mask=text.attention_mask.to(input_ids.dtype),
                    **options,
                )
        finally:
            self.train(was_training)
        if isinstance(output, Tensor):
            return output[:, text.input_ids.shape[1] :]
        output.sequences = output.sequences[:, text.input_ids.shape[1] :]
        return output

    def _generation_options(self, options: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """What `generate` of transformers is given, and the rows that it makes of a sample."""
        config = options.get("generation_config")
        own = config if config is not None else self.lm.generation_config
        defaults: dict[str, Any] = {}
        if config is None or config.pad_token_id is None:
            pad = None if self.tokenizer is None else self.tokenizer.pad_token_id
            defaults["pad_token_id"] = 0 if pad is None else pad
        if config is None and not options.get("do_sample"):
            defaults |= {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if config is None and "max_length" not in options:
            defaults["max_new_tokens"] = 64
        options = {**defaults, **options}
        if not all(cast(Fusion, fusion).causal for fusion in self.fusions.values()):
            options["use_cache"] = False
        names = ("num_beams", "num_return_sequences")
        return options, max(options.get(name) or getattr(own, name) or 1 for name in names)

    def generate(
        self,
        *,
        video: Any = None,
        image: Any = None,
        audio: Any = None,
        prompt: str | list[str] | None = None,
        **options: Any,
    ) -> str | list[str]:
        """Answers about media: paths, arrays, PIL images, tensors; lists of them are a batch.

        Args:
            video: a file, (t, h, w, 3) frames, or a list of PIL images (one clip).
            image: a file, a PIL image or an (h, w, 3) array.
            audio: a file, or a mono waveform with its rate, `(waveform, sampling_rate)`.
            prompt: the text before the answer; default: the head's own.
            options: of `transformers.GenerationConfig`, e.g. `max_new_tokens`, `num_beams`.

        Returns:
            One answer, or a list for a batch.

        Raises:
            MediaError: a file cannot be read.
            DataError: lists of different lengths, or no media and no prompt.

        Example:
            >>> model.generate(video="clip.mp4")  # doctest: +SKIP
            'a red circle moving left'
        """
        from mmadapt.data.inputs import collate_prompts, samples_from_media

        samples, is_batch = samples_from_media(
            {"video": video, "image": image, "audio": audio}, prompt, set(self.modalities)
        )
        batch = collate_prompts(samples, self.head, self.require_tokenizer(), self.processors)
        batch = _to_device(batch, self.device)
        ids = self.generate_batch(**batch, **options)
        texts = self.require_tokenizer().batch_decode(ids, skip_special_tokens=True)
        per_sample = len(texts) // len(samples)
        answers = [
            self.head.answer(samples[row // per_sample], text) for row, text in enumerate(texts)
        ]
        return answers if is_batch or per_sample > 1 else answers[0]

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

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What trains, and what is saved, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def adapter_state_dict(self) -> dict[str, Tensor]:
        """Everything trained together: the fusions, and whatever else is declared trainable."""
        names = set(self.trainable_parameters())
        names |= {name for name in self.state_dict() if name.startswith("fusions.")}
        state = self.state_dict()
        return {name: state[name].detach() for name in sorted(names)}

    def load_adapter_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads what `adapter_state_dict` gave; names and shapes must be the same.

        Raises:
            AdapterError: a name is missing or surplus, or a shape differs.
        """
        from mmadapt.checkpoint import check_tensors

        own = self.adapter_state_dict()
        check_tensors(own, tensors)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Writes the adapter: safetensors, resolved recipe, base-model fingerprints, card."""
        from mmadapt.checkpoint import save_adapter

        save_adapter(self, Path(folder))

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Uploads the adapter folder to the Hugging Face hub and returns its address."""
        from mmadapt.checkpoint import push_adapter

        return push_adapter(self, repo_id, private=private, token=token)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Recomputes the LM's layers in the backward pass instead of keeping their activations."""
        self.lm.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs or {"use_reentrant": False}
        )

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the activations again."""
        self.lm.gradient_checkpointing_disable()


def _labelled(text: TextInputs) -> tuple[Tensor, Tensor]:
    """Flat indices (k,) of the positions that predict a label, and those labels (k,)."""
    if text.labels is None:
        empty = text.input_ids.new_empty(0)
        return empty, empty
    shifted = nn.functional.pad(text.labels[:, 1:], (0, 1), value=IGNORE_INDEX).flatten()
    rows = (shifted != IGNORE_INDEX).nonzero().squeeze(1)
    return rows, shifted[rows]


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to_device(item, device) for key, item in value.items()}
    return value
