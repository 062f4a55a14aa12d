"""Answers from a composed model: the LM's own `generate`, with the media bound to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from mmadapt.data.length import lm_limit
from mmadapt.data.origin import located
from mmadapt.errors import DataError
from mmadapt.faults import reason_of
from mmadapt.generation.candidates import choose_with_margins
from mmadapt.generation.lm_cache import check_lm_cache
from mmadapt.generation.margins import GreedyMargins, generation_mode, is_greedy, unfinished
from mmadapt.generation.streaming import with_prompt
from mmadapt.types import MediaInputs, Sample, State, TextInputs

if TYPE_CHECKING:
    from mmadapt.contracts import Fusion, Head
    from mmadapt.model import MultimodalModel

MAX_NEW_TOKENS = 64  # unless the options say otherwise


@torch.no_grad()
def generate_batch(
    model: MultimodalModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    media: Mapping[str, MediaInputs] | None,
    media_positions: Tensor | None,
    options: dict[str, Any],
) -> Any:
    """What `MultimodalModel.generate_batch` returns, in eval mode."""
    was_training = model.training
    model.eval()
    try:
        features = model.encode(media or {})
        text = model.fused_text(input_ids, attention_mask, None, media_positions, features)
        if not bool(text.attention_mask.any(dim=1).all()):
            raise DataError(
                "generate", None, "a prompt is empty, so there is nothing to continue; give one"
            )
        text = text.padded_left()
        options, beams = generation_options(model, options, int(_positions(text).max()))
        options = with_prompt(options, input_ids, attention_mask, beams)
        with model.prepared(State(text), features, beams), _refusals():
            output = cast(Any, model.lm).generate(
                input_ids=text.input_ids,
                attention_mask=text.attention_mask.to(input_ids.dtype),
                **options,
            )
    finally:
        model.train(was_training)
    if isinstance(output, Tensor):
        return output[:, text.input_ids.shape[1] :]
    output.sequences = output.sequences[:, text.input_ids.shape[1] :]
    return output


@contextmanager
def _refusals() -> Iterator[None]:
    """Tells what transformers has against the options; what fails in a forward pass stays as it is.

    Raises:
        DataError: in place of its ValueError, TypeError or IndexError.
    """
    try:
        yield
    except (ValueError, TypeError, IndexError) as error:
        frames = (frame.f_code for frame, _ in walk_tb(error.__traceback__))
        if nn.Module.__call__.__code__ in frames:  # of the LM, an encoder or a fusion
            raise
        reason = f"transformers refuses the options: {reason_of(error)}"
        raise DataError("generate", None, reason) from error


def _positions(text: TextInputs) -> Tensor:
    """Positions of the LM that each row takes, padding not counted: (b,)."""
    taken = text.attention_mask
    return (taken if text.positionless is None else taken & ~text.positionless).sum(dim=1)


def generation_options(
    model: MultimodalModel, options: dict[str, Any], length: int
) -> tuple[dict[str, Any], int]:
    """What `generate` of transformers is given, and the rows that it makes of a sample.

    Args:
        model: a composed model.
        options: of the caller.
        length: positions of the longest prompt; by default the answer stays within the LM's.
    """
    config = options.get("generation_config")
    own = config if config is not None else model.lm.generation_config
    defaults: dict[str, Any] = {}
    if config is None or config.pad_token_id is None:
        pad = None if model.tokenizer is None else model.tokenizer.pad_token_id
        defaults["pad_token_id"] = 0 if pad is None else pad
    if config is None and not options.get("do_sample"):
        defaults |= {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if _is_open(options):
        raised = None if model.recipe is None else model.recipe.data.max_length
        room = (lm_limit(model.lm.config, raised) or length + MAX_NEW_TOKENS) - length
        defaults["max_new_tokens"] = max(1, min(MAX_NEW_TOKENS, room))
    if options.get("stop_strings"):
        defaults["tokenizer"] = model.require_tokenizer()
    options = {**defaults, **options}
    if "compile_config" not in options:
        # What hooks read changes at every step, so compiled steps would be compiled anew each time.
        options.setdefault("disable_compile", True)
    causal = all(cast("Fusion", fusion).causal for fusion in model.fusions.values())
    check_lm_cache(options, causal, model.device)
    if not causal:
        options["use_cache"] = False
    names = ("num_beams", "num_return_sequences")
    return options, max(options.get(name) or getattr(own, name) or 1 for name in names)


def _is_open(options: Mapping[str, Any]) -> bool:
    """Whether it is left to the default how many tokens are generated."""
    return not {"generation_config", "max_length", "max_new_tokens"} & {
        key for key, value in options.items() if value is not None
    }


def answer_batch(
    model: MultimodalModel,
    samples: Sequence[Sample],
    batch: Mapping[str, Any],
    options: dict[str, Any],
) -> list[str]:
    """The answers to a batch: the likeliest of the head's candidates, else what is generated.

    Args:
        model: a composed model.
        samples: of the batch.
        batch: of prompts, as collated.
        options: of `transformers.GenerationConfig`; with `num_return_sequences` every sample has so
            many answers, next to one another.

    Raises:
        DataError: only some samples have candidates.
    """
    return _answered(model, samples, batch, options, watched=False)[0]


def answers_and_margins(
    model: MultimodalModel,
    samples: Sequence[Sample],
    batch: Mapping[str, Any],
    options: dict[str, Any],
) -> tuple[list[str], list[float]]:
    """The answers to a batch, as `answer_batch`, and how clearly each was decided.

    Returns:
        Answers; and by how much the likeliest token (at its closest step, in logits) or candidate
        (in its score, per token) led the second: infinite where this is not known, as for beams and
        samples.
    """
    return _answered(model, samples, batch, options, watched=is_greedy(model.lm, options))


def decoding(model: MultimodalModel, sample: Sample, options: dict[str, Any]) -> dict[str, Any]:
    """How a sample is answered, defaults included, for the record.

    Example:
        >>> decoding(model, sample, {})  # doctest: +SKIP
        {'method': 'greedy_search', 'max_new_tokens': 64, 'eos_token_id': 2, ...}
    """
    if _candidates(model.head, sample) is not None:
        return {"method": "likelihood of candidates", "score": model.head.score}
    options = _with_stops(model, options)
    config = cast(Any, model.lm).generation_config.to_diff_dict()
    told = {key: value for key, value in config.items() if key not in _NOT_DECODING}
    told |= {"method": generation_mode(model.lm, options)}
    if "max_length" not in options:
        told["max_new_tokens"] = MAX_NEW_TOKENS  # or fewer, where the LM has no room for them
    if not options.get("do_sample"):
        told = {key: value for key, value in told.items() if key not in _SAMPLING}
    return told | options


_NOT_DECODING = ("transformers_version", "_from_model_config", "do_sample")
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p")


def _answered(
    model: MultimodalModel,
    samples: Sequence[Sample],
    batch: Mapping[str, Any],
    options: dict[str, Any],
    watched: bool,
) -> tuple[list[str], list[float]]:
    head, tokenizer = model.head, model.require_tokenizer()
    candidates = [_candidates(head, sample) for sample in samples]
    if all(given is not None for given in candidates):
        given = [texts or [] for texts in candidates]
        texts, margins = choose_with_margins(model, samples, batch, given)
    elif any(given is not None for given in candidates):
        reason = "mixes samples with and without candidates; split the source"
        raise DataError("batch", None, reason)
    else:
        options = _with_stops(model, options)
        watch = GreedyMargins() if watched else None
        ids = model.generate_batch(**batch, **options, **({} if watch is None else watch.options))
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        stops = options.get("eos_token_id", cast(Any, model.lm).generation_config.eos_token_id)
        margins = [float("inf")] * len(texts) if watch is None else watch.smallest(ids, stops)
        if watch is not None and _is_open(options) and ids.shape[1] < MAX_NEW_TOKENS:
            # Cut where the batch's longest prompt left no more room: alone, a row may go on.
            cut = unfinished(ids, stops)
            margins = [0.0 if short else m for m, short in zip(margins, cut, strict=True)]
    per_sample = len(texts) // len(samples)
    answers = [head.answer(samples[row // per_sample], text) for row, text in enumerate(texts)]
    return answers, margins


def answer(
    model: MultimodalModel,
    media: Mapping[str, Any],
    prompt: Any,
    options: dict[str, Any],
    choices: list[str] | list[list[str]] | None = None,
) -> str | list[str]:
    """What `MultimodalModel.generate` returns.

    Args:
        model: a composed model.
        media: by modality a file, a value, a list of these, or None.
        prompt: one, one for each, or None for the head's own; a text, or a list of messages.
        options: of `transformers.GenerationConfig`.
        choices: to choose among, for all or for each, where the head takes any.
    """
    from mmadapt.data.inputs import collate_prompts, samples_from_media
    from mmadapt.data.loader import to_device
    from mmadapt.data.views import InMemory, WithSound
    from mmadapt.inserted import length_limit
    from mmadapt.recipe import DataConfig

    samples, is_batch = samples_from_media(media, prompt, set(model.modalities))
    if model.recipe is not None and model.recipe.data.audio_from_video:
        samples = list(WithSound(InMemory(samples)))
    if not model.head.takes_messages and any("messages" in sample for sample in samples):
        reason = f"{type(model.head).__name__} takes no messages; give a text, or use the head chat"
        raise DataError("generate", None, reason)
    if choices is not None:
        _add_choices(model.head, samples, choices)
    data = DataConfig() if model.recipe is None else model.recipe.data
    if data.too_long == "skip":  # what is asked is answered, or refused
        data = data.model_copy(update={"too_long": "error"})
    limit = length_limit(model, data, reserved=int(options.get("max_new_tokens") or 1))
    tokenizer = model.require_tokenizer()
    batch = collate_prompts(samples, model.head, tokenizer, model.processors, limit)
    if options.get("streamer") is not None and _candidates(model.head, samples[0]) is not None:
        reason = "the head chooses among answers and generates none, so there is nothing to stream"
        raise DataError("generate", None, f"{reason}; leave the streamer (--stream) out")
    texts = answer_batch(model, samples, to_device(batch, model.device), options)
    return texts if is_batch or len(texts) > len(samples) else texts[0]


def _candidates(head: Head, sample: Sample) -> list[str] | None:
    with located(sample):
        return head.candidates(sample)


def _with_stops(model: MultimodalModel, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the head's own stop tokens beside the LM's."""
    stops = set(model.head.stop_ids(model.require_tokenizer()))
    own = cast(Any, model.lm).generation_config.eos_token_id
    known = set(own if isinstance(own, list) else [] if own is None else [own])
    if stops <= known or {"eos_token_id", "generation_config"} & set(options):
        return options
    return {**options, "eos_token_id": sorted(known | stops)}


def _add_choices(
    head: Head, samples: Sequence[Sample], choices: list[str] | list[list[str]]
) -> None:
    """Gives every sample its choices.

    Raises:
        DataError: the head does not choose, or there are not as many lists as samples.
    """
    if not head.takes_choices:
        name = type(head).__name__
        reason = f"{name} does not choose among given answers; leave choices out"
        raise DataError("generate", None, f"{reason}, or use the head classify or choice")
    each = choices if choices and isinstance(choices[0], list) else [choices] * len(samples)
    if len(each) != len(samples):
        reason = f"{len(each)} lists of choices for {len(samples)} inputs; give one for each"
        raise DataError("generate", None, reason)
    for sample, given in zip(samples, each, strict=True):
        sample["choices"] = cast(list[str], given)
