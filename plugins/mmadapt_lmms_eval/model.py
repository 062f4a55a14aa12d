"""A saved adapter as an lmms-eval model: `--model mmadapt --model_args pretrained=RUN`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from mmadapt.composition import load
from mmadapt.data.inputs import collate_prompts
from mmadapt.data.loader import to_device
from mmadapt.errors import ModelError
from mmadapt.generation.answers import answer_batch
from mmadapt.generation.candidates import Pair, log_likelihoods
from mmadapt.inserted import length_limit
from mmadapt.recipe import DataConfig
from mmadapt.text import MEDIA_MARKER, target_ids
from mmadapt.types import Sample
from mmadapt_lmms_eval.media import media_parts
from mmadapt_lmms_eval.options import cut, generation_options


class Likelihood(GenerationResult):
    """A pair (value, whether the continuation is greedy) that reaches the task as it is.

    lmms-eval 0.7.3 turns every answer of a model into text, pairs too, but for the `text` of a
    `GenerationResult`.
    """

    def __init__(self, value: float, is_greedy: bool) -> None:
        super().__init__(text=(value, is_greedy))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.text)


class MMAdapt(lmms):
    """A saved adapter that answers lmms-eval's tasks with its own head.

    A task's context is the head's prompt (the question of `vqa`, the user's turn of `chat`), so
    that the adapter meets the format it was trained on.

    `loglikelihood` returns the *negative* log-likelihood, EOS included: lmms-eval takes the
    smallest value of a multiple choice, because its own models return their loss.

    Args:
        pretrained: adapter or run folder, or hub id.
        batch_size: documents at once.
        device: e.g. `cuda:1`; default: a GPU if there is one, each process its own.
        score: of a choice: the `mean` of its tokens' (as lmms-eval's own models) or their `sum`.
        max_batch_size: what lmms-eval passes to every model; not used.
        allow_code: as `--allow-code`.
        revision: branch, tag or commit of an adapter on the hub.
        overrides: values laid over the adapter's recipe, e.g. `lm.dtype=bfloat16`.

    Raises:
        MMAdaptError: no adapter there, or a mistake in the arguments.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 1,
        device: str | None = None,
        score: Literal["mean", "sum"] = "mean",
        max_batch_size: Any = None,
        allow_code: bool = False,
        revision: str | None = None,
        **overrides: Any,
    ) -> None:
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ModelError(f"batch_size={batch_size}: must be a number from 1")
        if score not in ("mean", "sum"):
            raise ModelError(f"score={score}: must be mean or sum")
        self.batch_size, self.score = int(batch_size), score
        given = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
        self.model = load(pretrained, revision=revision, overrides=given, allow_code=allow_code)
        self.model.place(_own_device(device)).eval()
        recipe = self.model.recipe
        data = DataConfig() if recipe is None else recipe.data
        self._data = data.model_copy(update={"too_long": "error"})  # what is asked is answered

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.model.device

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Generated answers, in the order of the requests."""
        arguments = [request.args for request in requests]
        answers: list[str] = [""] * len(arguments)
        for rows in self._batches([_settings(given[1]) for given in arguments], "generate"):
            kwargs = arguments[rows[0]][1]
            options = generation_options(kwargs)
            samples = [self._sample(arguments[row][0], *arguments[row][2:6]) for row in rows]
            batch = self._collated(samples, int(options.get("max_new_tokens") or 1))
            for row, text in zip(
                rows, answer_batch(self.model, samples, batch, options), strict=True
            ):
                answers[row] = cut(text, kwargs.get("until"))
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[Likelihood]:
        """By request, the negative log-likelihood of its continuation, and whether it is greedy."""
        arguments = [request.args for request in requests]
        groups: dict[Any, list[int]] = {}  # the choices of one document, which is read once
        for row, given in enumerate(arguments):
            groups.setdefault((given[0], *given[3:6]), []).append(row)
        documents = list(groups.values())
        results = [Likelihood(0.0, False)] * len(arguments)
        for numbers in self._batches([None] * len(documents), "score"):
            rows = [documents[number] for number in numbers]
            for row, found in self._scored(arguments, rows).items():
                results[row] = found
        return results

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Refuses.

        Raises:
            ModelError: always.
        """
        raise ModelError("the model mmadapt answers in one round; choose tasks of generate_until")

    @torch.no_grad()
    def _scored(
        self, arguments: Sequence[Any], rows: Sequence[Sequence[int]]
    ) -> dict[int, Likelihood]:
        head, tokenizer = self.model.head, self.model.require_tokenizer()
        samples = [self._sample(arguments[own[0]][0], *arguments[own[0]][2:6]) for own in rows]
        pairs: list[Pair] = []
        for number, own in enumerate(rows):
            prompt = head.prompt(samples[number])
            for row in own:
                text = self._continuation(arguments[row])
                pairs.append(Pair(number, target_ids(tokenizer, prompt, text, head.separator)))
        width = max(len(pair.ids) for pair in pairs)
        batch = self._collated(samples, width)
        scores = log_likelihoods(self.model, batch, pairs).tolist()
        options: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": width}
        greedy = self.model.generate_batch(**batch, **options).tolist()
        flat = [row for own in rows for row in own]
        return {
            row: Likelihood(
                -score / (len(pair.ids) if self.score == "mean" else 1),
                greedy[pair.row][: len(pair.ids)] == pair.ids,
            )
            for row, pair, score in zip(flat, pairs, scores, strict=True)
        }

    def _continuation(self, given: Any) -> str:
        told: Any = given[1]
        if not isinstance(told, str):
            doc_id, task, split = given[3:6]
            told = told(self.task_dict[task][split][doc_id])
        return str(told).strip()

    def _sample(self, context: str, visual: Any, doc_id: Any, task: str, split: str) -> Sample:
        called = f"{task}/{split}/{doc_id}"
        seen = visual(self.task_dict[task][split][doc_id]) if callable(visual) else visual
        media = media_parts(seen, called)
        prompt = context[0] if isinstance(context, list) else context
        if media and prompt.count("<image>") == len(media):
            prompt = prompt.replace("<image>", MEDIA_MARKER)
        return {"id": called, "prompt": prompt, "media": media}

    def _collated(self, samples: Sequence[Sample], reserved: int) -> dict[str, Any]:
        limit = length_limit(self.model, self._data, reserved)
        tokenizer, head = self.model.require_tokenizer(), self.model.head
        batch = collate_prompts(samples, head, tokenizer, self.model.processors, limit)
        return to_device(batch, self.model.device)

    def _batches(self, kinds: Sequence[Any], description: str) -> Iterator[list[int]]:
        """Numbers of like requests, `batch_size` at once."""
        with tqdm(total=len(kinds), desc=description, disable=self.rank != 0) as bar:
            for kind in dict.fromkeys(kinds):
                rows = [row for row, own in enumerate(kinds) if own == kind]
                for start in range(0, len(rows), self.batch_size):
                    batch = rows[start : start + self.batch_size]
                    yield batch
                    bar.update(len(batch))


def _settings(kwargs: Mapping[str, Any]) -> str:
    return json.dumps(kwargs, sort_keys=True, default=str)


def _own_device(device: str | None) -> str | None:
    """The device asked for; of several processes each has its own GPU."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and torch.cuda.is_available() and (device or "cuda").startswith("cuda"):
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return device
