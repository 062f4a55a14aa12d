"""Choosing among given answers by their likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmadapt.data.collate import Collator, padding_id
from mmadapt.data.dataset import Item
from mmadapt.errors import DataError
from mmadapt.text import encode_text
from mmadapt.types import IGNORE_INDEX, Sample

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel


def choose(
    model: MultimodalModel,
    samples: Sequence[Sample],
    batch: Mapping[str, Any],
    candidates: Sequence[Sequence[str]],
) -> list[str]:
    """The candidate of each sample that the model finds most likely.

    The score of a candidate is the sum of its tokens' log-probabilities, EOS included, so that a
    candidate which continues another one is not favoured.

    Args:
        model: a composed model.
        samples: of the batch.
        batch: as collated; its media are used again for every candidate.
        candidates: per sample, at least one.

    Raises:
        DataError: a sample has an empty list.
    """
    for sample, given in zip(samples, candidates, strict=True):
        if not given:
            raise DataError("sample", sample["id"], "has an empty list of candidates")
    chosen: list[str] = [""] * len(samples)
    best = torch.full((len(samples),), float("-inf"))
    for number in range(max(map(len, candidates))):
        rows = [row for row, given in enumerate(candidates) if number < len(given)]
        texts = [candidates[row][number] for row in rows]
        scores = log_likelihoods(model, [samples[row] for row in rows], _rows(batch, rows), texts)
        for row, text, score in zip(rows, texts, scores.tolist(), strict=True):
            if score > best[row]:
                best[row], chosen[row] = score, text
    return chosen


@torch.no_grad()
def log_likelihoods(
    model: MultimodalModel,
    samples: Sequence[Sample],
    batch: Mapping[str, Any],
    texts: Sequence[str],
) -> Tensor:
    """(b,) log-probability of `texts` as answers to the samples of a batch."""
    tokenizer = model.require_tokenizer()
    items = []
    for sample, text in zip(samples, texts, strict=True):
        count = len(sample.get("media") or ())
        encoded = encode_text(
            model.head.prompt(sample), text, count, tokenizer, sample["id"], with_target=True
        )
        arrays = [torch.tensor(values).numpy() for values in (encoded.input_ids, encoded.labels)]
        positions = torch.tensor(encoded.media_positions, dtype=torch.long).numpy()
        items.append(Item(0, sample["id"], arrays[0], arrays[1], positions))
    told = Collator(padding_id(tokenizer))(items)
    told["media"] = batch["media"]
    if batch["media_positions"].shape[1] == 0:  # the media were removed
        told["media_positions"] = batch["media_positions"]
    device = batch["input_ids"].device
    told |= {key: value.to(device) for key, value in told.items() if isinstance(value, Tensor)}
    was_training = model.training
    model.eval()
    try:
        output = model(**told)
    finally:
        model.train(was_training)
    targets = output.text.labels[:, 1:]
    rows, columns = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
    log_probs = output.logits[0].float().log_softmax(dim=-1)
    picked = log_probs.gather(1, targets[rows, columns][:, None]).squeeze(1)
    return torch.zeros(len(texts), device=device).index_add(0, rows, picked).cpu()


def _rows(value: Any, rows: Sequence[int]) -> Any:
    """Some rows of a batch."""
    if isinstance(value, Tensor):
        return value[list(rows)]
    if isinstance(value, list):
        return [value[row] for row in rows]
    return {key: _rows(item, rows) for key, item in value.items()}
