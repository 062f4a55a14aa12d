"""The contract of a head, as a test class to inherit."""

from __future__ import annotations

import copy
import pickle
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mmadapt.contracts import EncodedText, Head
from mmadapt.data.items import Item
from mmadapt.data.length import LengthLimit
from mmadapt.errors import DataError
from mmadapt.testing.tiny import tiny_tokenizer
from mmadapt.text import MEDIA_MARKER, add_special_tokens, special_prefix
from mmadapt.types import IGNORE_INDEX, Sample


class HeadContract(ABC):
    """Every promise of a head, tested on a word-level and on a byte-level tokenizer.

    A subclass says how to make the head and gives samples that it can learn from.

    Attributes:
        learns_prompt: the head under test labels its prompts too.

    Example:
        class TestMyHead(HeadContract):
            def make(self):
                return MyHead(MyConfig())

            def samples(self):
                return [{"id": "1", "prompt": "what?", "target": "a cat"}]
    """

    learns_prompt: bool = False

    @abstractmethod
    def make(self) -> Head:
        """Builds the head."""

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """Samples with targets, at least one of them with media."""

    def expected(self, sample: Sample) -> str:
        """The answer that a metric should read where the LM says the target."""
        given = sample.get("answers") or sample.get("references")
        return sample.get("target") or (given or [""])[0]

    def without_target(self, sample: Sample) -> Sample:
        """The sample as in evaluation without references."""
        left = {k: v for k, v in sample.items() if k not in ("target", "answers", "references")}
        return left  # type: ignore[return-value]

    def tokenizers(self, head: Head) -> list[PreTrainedTokenizerBase]:
        """A word-level tokenizer without BOS and a byte-level one with it."""
        words = [
            word
            for sample in self.samples()
            for word in _words([*sample.values(), head.prompt(sample), head.target(sample)])
        ]
        made: list[PreTrainedTokenizerBase] = [tiny_tokenizer(words), byte_tokenizer()]
        for tokenizer in made:
            add_special_tokens(tokenizer, head.special_tokens)
            head.check_tokenizer(tokenizer)
        return made

    def test_only_targets_are_labelled(self) -> None:
        """Labels are the ids or -100; the last that is labelled is the target."""
        for head, tokenizer, sample in self._cases():
            encoded = _told(head, sample, tokenizer)
            pairs = list(zip(encoded.input_ids, encoded.labels, strict=True))
            assert all(label in (IGNORE_INDEX, token) for token, label in pairs)
            first = 1 + max((i for i, (_, label) in enumerate(pairs) if label < 0), default=-1)
            assert first < len(pairs), "nothing is learnt at the end of the text"
            if self.learns_prompt:
                unlearnt = [token for token, label in pairs if label == IGNORE_INDEX]
                assert unlearnt == special_prefix(tokenizer), "the prompt is not learnt"
            said = _plain(tokenizer.decode(encoded.input_ids[first:], skip_special_tokens=True))
            target = _plain(tokenizer.decode(_ids(tokenizer, head.target(sample) or "")))
            assert said.endswith(target), f"learns '{said}', not '{target}'"
            assert self.learns_prompt or said == target, f"learns '{said}' instead of '{target}'"

    def test_targets_end(self) -> None:
        """The last token is learnt and is one at which generation stops."""
        for head, tokenizer, sample in self._cases():
            encoded = _told(head, sample, tokenizer)
            stops = [tokenizer.eos_token_id, *head.stop_ids(tokenizer)]
            assert encoded.labels[-1] == encoded.input_ids[-1]
            assert encoded.input_ids[-1] in stops, "the answer has no end"

    def test_a_prompt_is_the_beginning_of_what_is_learnt(self) -> None:
        """Generation goes on from exactly what was trained, and nothing of it is labelled."""
        for head, tokenizer, sample in self._cases():
            told = _told(head, sample, tokenizer)
            asked = head.encode(sample, tokenizer, with_target=False)
            size = len(asked.input_ids)
            assert told.input_ids[:size] == asked.input_ids, "the prompt is tokenised differently"
            assert size < len(told.input_ids) and told.labels[size] != IGNORE_INDEX
            assert set(asked.labels) <= {IGNORE_INDEX}
            assert told.media_positions == asked.media_positions
            alone = head.encode(self.without_target(sample), tokenizer, with_target=False)
            assert alone == asked, "the prompt depends on the target"

    def test_media_stand_before_the_target(self) -> None:
        """There is a place for every file, and no marker is left in the text."""
        assert any(sample.get("media") for sample in self.samples()), "give a sample with media"
        for head, tokenizer, sample in self._cases():
            encoded = _told(head, sample, tokenizer)
            positions = encoded.media_positions
            assert len(positions) == len(sample.get("media") or ())
            end = len(encoded.labels) - 1
            assert positions == sorted(positions) and all(0 <= at <= end for at in positions)
            if not self.learns_prompt:
                assert all(encoded.labels[at - 1] == IGNORE_INDEX for at in positions if at)
            text = tokenizer.decode(encoded.input_ids)
            assert MEDIA_MARKER.strip("<>") not in text or "<unk>" in text

    def test_a_cut_prompt_keeps_media_and_target(self) -> None:
        """Truncation takes text of the prompt away and nothing else."""
        for head, tokenizer, sample in self._cases():
            item = _item(_told(head, sample, tokenizer))
            prefix = len(special_prefix(tokenizer))
            for size in range(1, len(item.input_ids)):
                limit = LengthLimit(size, "truncate_prompt")
                try:
                    cut = limit.fitted(item, prefix)
                except DataError:
                    continue
                learnt = [ids[ids != IGNORE_INDEX].tolist() for ids in (item.labels, cut.labels)]
                assert learnt[0] == learnt[1] and len(cut.input_ids) == size
                assert len(cut.media_positions) == len(item.media_positions)
                assert all(prefix <= at <= size for at in cut.media_positions if at)

    def test_the_padding_side_changes_nothing(self) -> None:
        """Padding is the collator's; a tokenizer that pads left gives the same ids."""
        for head, tokenizer, sample in self._cases():
            sides = []
            for side in ("left", "right"):
                tokenizer.padding_side = side
                sides.append(_told(head, sample, tokenizer))
            assert sides[0] == sides[1]

    def test_it_travels_to_loader_workers(self) -> None:
        """A pickled head encodes as the original does."""
        for head, tokenizer, sample in self._cases():
            other = pickle.loads(pickle.dumps(head))
            assert _told(other, sample, tokenizer) == _told(head, sample, tokenizer)

    def test_the_target_answers_right(self) -> None:
        """Where the LM says what it has learnt, the answer is the reference."""
        for head, tokenizer, sample in self._cases():
            told = _told(head, sample, tokenizer)
            size = len(head.encode(sample, tokenizer, with_target=False).input_ids)
            said = tokenizer.decode(told.input_ids[size:], skip_special_tokens=True)
            candidates = head.candidates(sample)
            if candidates is not None:
                target = head.target(sample)
                assert target in candidates, f"the target '{target}' is no candidate"
                said = target
            answer = head.answer(sample, said)
            assert _plain(answer) == _plain(self.expected(sample)), f"'{said}' gives '{answer}'"

    def test_chance_is_the_generators_alone(self) -> None:
        """The same seed gives the same text; samples are left as they are."""
        for head, tokenizer, sample in self._cases():
            before = copy.deepcopy(sample)
            rng = [np.random.default_rng(7) for _ in range(2)]
            first, second = (
                head.encode(sample, tokenizer, with_target=True, rng=own) for own in rng
            )
            assert first == second and sample == before

    def test_a_sample_without_target_cannot_be_learnt(self) -> None:
        """The error names the sample."""
        for head, tokenizer, sample in self._cases():
            with pytest.raises(DataError, match=re.escape(sample["id"])):
                _told(head, self.without_target(sample), tokenizer)

    def _cases(self) -> list[tuple[Head, Any, Sample]]:
        head = self.make()
        return [
            (head, tokenizer, sample)
            for tokenizer in self.tokenizers(head)
            for sample in self.samples()
        ]


def byte_tokenizer(merges: Sequence[tuple[str, str]] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes, so that any text survives; `<s>` stands before every text.

    Args:
        merges: pairs of bytes (as byte-level tokenizers write them) that are one token, wherever
            they stand.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<s>", "</s>", *letters, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def _told(head: Head, sample: Sample, tokenizer: Any) -> EncodedText:
    return head.encode(sample, tokenizer, with_target=True)


def _item(encoded: EncodedText) -> Item:
    parts = (encoded.input_ids, encoded.labels, encoded.media_positions)
    ids, labels, positions = (np.asarray(values, dtype=np.int64) for values in parts)
    return Item(0, "1", ids, labels, positions)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _plain(text: str) -> str:
    """Without the spaces that tokenizers put around marks."""
    return "".join(text.split())


def _words(value: Any) -> list[str]:
    """All words of a sample, so that a word-level tokenizer knows them."""
    if isinstance(value, str):
        return [word for mark in ".,:?()" for word in value.replace(mark, f" {mark} ").split()]
    if isinstance(value, dict):
        return [word for item in value.values() for word in _words(item)]
    return [word for item in value for word in _words(item)] if isinstance(value, list) else []
