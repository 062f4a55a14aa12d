"""Choosing among given answers by their likelihood."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mmadapt.data.origin import place
from mmadapt.errors import DataError
from mmadapt.text import target_ids
from mmadapt.types import IGNORE_INDEX, Features, Sample, State

if TYPE_CHECKING:
    from mmadapt.contracts import Fusion
    from mmadapt.model import MultimodalModel

AT_ONCE = 16  # candidates in one forward, or as many as the batch has samples


@dataclass(frozen=True)
class Pair:
    """One candidate of one sample: row of the batch, and the candidate's token ids."""

    row: int
    ids: list[int]


def choose(
    model: MultimodalModel,
    samples: Sequence[Sample],
    batch: Mapping[str, Any],
    candidates: Sequence[Sequence[str]],
) -> list[str]:
    """The candidate of each sample that the model finds most likely.

    The score of a candidate is the sum (or the mean, as the head's `score` says) of its tokens'
    log-probabilities, EOS included, so that a candidate which continues another one is not
    favoured. The media are encoded once and the prompt is read once, for all candidates.

    Args:
        model: a composed model.
        samples: of the batch.
        batch: of prompts, as collated, padded on the right.
        candidates: per sample, at least one.

    Raises:
        DataError: a sample has an empty list.
    """
    return choose_with_margins(model, samples, batch, candidates)[0]


def choose_with_margins(
    model: MultimodalModel,
    samples: Sequence[Sample],
    batch: Mapping[str, Any],
    candidates: Sequence[Sequence[str]],
) -> tuple[list[str], list[float]]:
    """As `choose`, and by how much each chosen candidate's score led the next, per token of its."""
    for sample, given in zip(samples, candidates, strict=True):
        if not given:
            raise DataError(place(sample), None, "has an empty list of candidates")
    head, tokenizer = model.head, model.require_tokenizer()
    known: dict[tuple[str, str], list[int]] = {}  # samples often share prompt and candidates
    pairs = []
    for row, (sample, given) in enumerate(zip(samples, candidates, strict=True)):
        prompt = head.prompt(sample)
        for text in given:
            if (prompt, text) not in known:
                ids = target_ids(tokenizer, prompt, text.strip(), head.separator)
                known[prompt, text] = ids
            pairs.append(Pair(row, known[prompt, text]))
    scores = log_likelihoods(model, batch, pairs)
    if head.score == "mean":
        scores = scores / torch.tensor([len(pair.ids) for pair in pairs])
    chosen, margins, start = [], [], 0
    for given in candidates:
        own = scores[start : start + len(given)]
        best = int(own.argmax())
        chosen.append(given[best])
        others = [float(s) for s, text in zip(own, given, strict=True) if text != given[best]]
        # What rounding does to a sum grows with its terms.
        terms = 1 if head.score == "mean" else len(pairs[start + best].ids)
        margins.append((float(own[best]) - max(others, default=-math.inf)) / terms)
        start += len(given)
    return chosen, margins


@torch.no_grad()
def log_likelihoods(
    model: MultimodalModel,
    batch: Mapping[str, Any],
    pairs: Sequence[Pair],
    use_cache: bool | None = None,
) -> Tensor:
    """(len(pairs),) float64: log-probability of each candidate behind its row's prompt.

    Args:
        model: a composed model; it is put into eval mode meanwhile.
        batch: of prompts, as collated, padded on the right.
        pairs: the candidates.
        use_cache: read each prompt once; default: where every fusion is causal.
    """
    was_training = model.training
    model.eval()
    try:
        features = model.encode(batch.get("media") or {})
        if use_cache is None:
            use_cache = all(cast("Fusion", fusion).causal for fusion in model.fusions.values())
        score = (_Continued if use_cache else _Whole)(model, batch, features)
        size = max(AT_ONCE, len(batch["input_ids"]))
        groups = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        return torch.cat([score(group).double().cpu() for group in groups])
    finally:
        model.train(was_training)


class _Continued:
    """Scores candidates from the LM's cache of the prompts."""

    def __init__(self, model: MultimodalModel, batch: Mapping[str, Any], features: Any) -> None:
        self.model = model
        text = model.fused_text(
            batch["input_ids"], batch["attention_mask"], None, batch["media_positions"], features
        ).padded_left()
        self.mask = text.attention_mask
        count, length = text.input_ids.shape
        last = torch.arange(1, count + 1, device=text.input_ids.device) * length - 1
        with model.prepared(State(text, labelled=last), features) as state:
            output = cast(Any, model.lm)(
                input_ids=text.input_ids, attention_mask=self.mask.long(), use_cache=True
            )
        self.state, self.cache = state, output.past_key_values
        self.first = output.logits[0].float().log_softmax(dim=-1)  # (b, v)

    def __call__(self, pairs: Sequence[Pair]) -> Tensor:
        """(len(pairs),) log-probabilities."""
        device = self.mask.device
        rows = torch.tensor([pair.row for pair in pairs], device=device)
        ids, labels = _padded([pair.ids for pair in pairs], device)
        scores = self.first[rows, ids[:, 0]]
        if ids.shape[1] == 1:
            return scores
        told = labels[:, 1:] != IGNORE_INDEX  # (k, w - 1): columns that predict another token
        labelled = told.flatten().nonzero().squeeze(1)
        state = replace(self.state.select(rows), labelled=labelled)
        with self.model.attachment.bind(state):
            output = cast(Any, self.model.lm)(
                input_ids=ids[:, :-1],
                attention_mask=torch.cat([self.mask[rows], told], dim=1).long(),
                past_key_values=_selected_cache(self.cache, rows),
                use_cache=True,
            )
        return scores + _summed(output.logits, labels[:, 1:], len(pairs))


class _Whole:
    """Scores candidates from whole texts, where a fusion forbids the cache."""

    def __init__(self, model: MultimodalModel, batch: Mapping[str, Any], features: Any) -> None:
        self.model, self.batch, self.features = model, batch, features

    def __call__(self, pairs: Sequence[Pair]) -> Tensor:
        """(len(pairs),) log-probabilities."""
        device = self.batch["input_ids"].device
        rows = torch.tensor([pair.row for pair in pairs], device=device)
        texts, lengths = [], []
        for pair in pairs:
            mask = self.batch["attention_mask"][pair.row].bool()
            texts.append(self.batch["input_ids"][pair.row][mask].tolist() + pair.ids)
            lengths.append(len(texts[-1]) - len(pair.ids))
        ids, labels = _padded(texts, device)
        mask = labels != IGNORE_INDEX
        place = torch.arange(ids.shape[1], device=device)
        labels = labels.masked_fill(
            place < torch.tensor(lengths, device=device)[:, None], IGNORE_INDEX
        )
        positions = self.batch["media_positions"][rows]
        features = _selected_features(self.features, rows)
        text = self.model.fused_text(ids, mask, labels, positions, features).padded_right()
        assert text.labels is not None
        told = torch.nn.functional.pad(text.labels[:, 1:], (0, 1), value=IGNORE_INDEX)
        labelled = (told != IGNORE_INDEX).flatten().nonzero().squeeze(1)
        with self.model.prepared(State(text, labelled=labelled), features):
            output = cast(Any, self.model.lm)(
                input_ids=text.input_ids, attention_mask=text.attention_mask.long(), use_cache=False
            )
        return _summed(output.logits, told, len(pairs))


def _summed(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """(count,) sums of log-probabilities; `logits` (1, k, v) stand where `labels` (count, w) do."""
    rows, columns = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    log_probs = logits[0].float().log_softmax(dim=-1).to(labels.device)
    picked = log_probs.gather(1, labels[rows, columns][:, None]).squeeze(1)
    return torch.zeros(count, device=labels.device).index_add(0, rows, picked)


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids padded on the right with 0, and labels padded with -100."""
    width = max(map(len, rows))
    labels = torch.full((len(rows), width), IGNORE_INDEX)
    for number, row in enumerate(rows):
        labels[number, : len(row)] = torch.tensor(row)
    labels = labels.to(device)
    return labels.clamp_min(0), labels


def _selected_cache(cache: Any, rows: Tensor) -> Any:
    """A cache of some rows; the layers of a dynamic cache never write into their tensors."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected


def _selected_features(
    features: Mapping[str, Mapping[str, Features]], rows: Tensor
) -> dict[str, dict[str, Features]]:
    return {
        fusion: {
            name: replace(
                found,
                levels=tuple(level[rows] for level in found.levels),
                mask=found.mask[rows],
                item=found.item[rows],
            )
            for name, found in given.items()
        }
        for fusion, given in features.items()
    }
