"""The chat head: conversations in the LM's own template, the assistant's turns learnt."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from mmadapt.contracts import EncodedText, Head
from mmadapt.errors import DataError
from mmadapt.text import MEDIA_MARKER, continuation_ids, plain_ids
from mmadapt.types import IGNORE_INDEX, Sample
from mmadapt_chat.config import ChatConfig
from mmadapt_chat.messages import Message, messages_of
from mmadapt_chat.template import ChatTemplate, Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatHead(Head):
    """Teaches the LM what the assistant says in a conversation; its next turn is the answer.

    A sample brings `messages` (of texts with `<media>`, or of typed parts), whose last turn, if it
    is the assistant's, is the target; or a prompt and a target, which make one turn each.

    What is learnt of a turn ends with the token that the template ends it with (such as
    `<|im_end|>`); where it has none, the last turn ends with EOS.

    Example:
        >>> head = ChatHead(ChatConfig(system="Be brief."))
        >>> [m["role"] for m in head.messages({"id": "1", "prompt": "What is it?"})]
        ['system', 'user']
    """

    Config = ChatConfig
    takes_messages = True

    def messages(self, sample: Sample) -> list[Message]:
        """The conversation, with all of its turns."""
        return messages_of(sample, self.config.prompt, self.config.system)

    def prompt(self, sample: Sample) -> str:
        """The last thing that the user says."""
        said = [m["content"] for m in self.messages(sample) if m["role"] == "user"]
        return said[-1] if said else ""

    def target(self, sample: Sample, rng: np.random.Generator | None = None) -> str | None:
        """The assistant's last turn, if the conversation ends with it."""
        last = self.messages(sample)[-1]
        return last["content"] if last["role"] == "assistant" else None

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Makes sure that there is a template.

        Raises:
            ModelError: there is none, or it is not Jinja.
        """
        template = self._template(tokenizer)
        with suppress(DataError):  # a template may refuse what it likes
            template.render([{"role": "user", "content": "a"}], "")

    def stop_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The token that the template ends a turn with, where it is not EOS."""
        template = self._template(tokenizer)
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            (span,) = template.spans(messages, "", last=True)
            text = template.render(messages, "")[span.start : span.end]
        except (DataError, ValueError):
            return []
        return plain_ids(tokenizer, text)[-1:] if span.stops else []

    def encode(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerBase,
        *,
        with_target: bool,
        rng: np.random.Generator | None = None,
    ) -> EncodedText:
        """Tokenises a conversation; only what the assistant says is labelled.

        Raises:
            DataError: the assistant does not have the last word although a target is wanted, or the
                template cannot be used.
        """
        messages, name = self.messages(sample), sample["id"]
        ends_with_target = messages[-1]["role"] == "assistant"
        if with_target and not (ends_with_target and messages[-1]["content"].strip()):
            raise DataError("sample", name, "has no target text to learn from")
        template = self._template(tokenizer)
        only_last = self.config.turns == "last"
        if with_target:
            text = template.render(messages, name)
            spans = template.spans(messages, name, last=only_last)
            return self._tokenised(text[: spans[-1].end], spans, tokenizer)
        told = messages[:-1] if ends_with_target else messages
        if not told:
            raise DataError("sample", name, "says nothing before the assistant's turn")
        text = template.render(told, name, ask=True)
        spoke = not only_last and any(message["role"] == "assistant" for message in told)
        spans = template.spans(told, name, last=False) if spoke else []
        encoded = self._tokenised(text, spans, tokenizer, ends=False)
        return EncodedText(
            encoded.input_ids, [IGNORE_INDEX] * len(encoded.input_ids), encoded.media_positions
        )

    def _tokenised(
        self,
        text: str,
        spans: list[Span],
        tokenizer: PreTrainedTokenizerBase,
        *,
        ends: bool = True,
    ) -> EncodedText:
        """Ids of the text, tokenised turn by turn, so that a prompt's are the first of them."""
        ids: list[int] = []
        labels: list[int] = []
        positions: list[int] = []
        before = ""

        def add(piece: str, learnt: bool) -> None:
            nonlocal before
            new = continuation_ids(tokenizer, before, piece, "") if before else None
            new = plain_ids(tokenizer, piece) if new is None else new
            ids.extend(new)
            learnt = learnt or self.learn_prompt
            labels.extend(new if learnt else [IGNORE_INDEX] * len(new))
            before = piece

        place = 0
        for span in [*spans, Span(len(text), len(text), True)]:
            for number, piece in enumerate(text[place : span.start].split(MEDIA_MARKER)):
                if number:
                    positions.append(len(ids))
                    before = ""
                add(piece, False)
            add(text[span.start : span.end], True)
            place = span.end
        if ends and not spans[-1].stops and tokenizer.eos_token_id is not None:
            ids.append(tokenizer.eos_token_id)
            labels.append(tokenizer.eos_token_id)
        return EncodedText(ids, labels, positions)

    def _template(self, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
        return ChatTemplate(tokenizer, self.config.chat_template, self.config.template_options)
