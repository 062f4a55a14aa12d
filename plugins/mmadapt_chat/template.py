"""A conversation as text, and which of it the assistant says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError

from mmadapt.errors import DataError, ModelError
from mmadapt_chat.messages import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INCONSISTENT = (
    "has turns that the chat template writes differently when others follow, so what the assistant "
    "says cannot be told; give the head `turns: last`, or a `chat_template:` that does not"
)
_OTHER_PROMPT = (
    "has a turn that the chat template asks for with a text that it does not write there, so that "
    "generation would go on from what was never learnt; set the head's `template_options:` (such "
    "as enable_thinking) or give it a `chat_template:`"
)
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class Span:
    """One turn of the assistant: from `start` to `end` of the text; `stops`: a token ends it."""

    start: int
    end: int
    stops: bool


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template, or another one.

    Args:
        tokenizer: the LM's.
        text: a Jinja template; default: the tokenizer's own.
        options: variables of the template.

    Raises:
        ModelError: there is no template.
    """

    tokenizer: PreTrainedTokenizerBase
    text: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.text is None and not getattr(self.tokenizer, "chat_template", None):
            raise ModelError(
                "the LM's tokenizer has no chat template; give the head `chat_template:`, or use "
                "an LM made for chat, or another head (caption, vqa)"
            )

    def render(self, messages: Sequence[Message], sample_id: str, *, ask: bool = False) -> str:
        """The text of messages; `ask` adds what stands before the assistant's next turn.

        Raises:
            DataError: the template refuses them.
            ModelError: it is no template.
        """
        try:
            return str(self._apply(messages, tokenize=False, add_generation_prompt=ask))
        except TemplateSyntaxError as error:
            raise ModelError(f"the chat template is no Jinja template: {error}") from error
        except (TemplateError, TypeError, KeyError, IndexError, ValueError) as error:
            reason = f"has messages that the chat template refuses: {error}"
            raise DataError("sample", sample_id, reason) from error

    def spans(self, messages: Sequence[Message], sample_id: str, *, last: bool) -> list[Span]:
        """Where the assistant speaks in the text of messages.

        Templates with generation markers say so themselves; of others, the texts of growing
        conversations are compared.

        Args:
            messages: the conversation.
            sample_id: for errors.
            last: only the last turn of the assistant.

        Raises:
            DataError: the text of a shorter conversation is not the beginning of a longer one's.
        """
        text = self.render(messages, sample_id)
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if self._has_markers():
            found = self._marked(messages)
            if len(found) == len(turns):
                self._check_prompt(text, messages, turns, sample_id)
                pairs = list(zip(found, turns, strict=True))[-1 if last else 0 :]
                return [self._trimmed(text, *span, messages[i], len(text)) for span, i in pairs]
        spans = []
        for i in turns[-1:] if last else turns:
            before = self.render(messages[:i], sample_id, ask=True) if i else ""
            through = self.render(messages[: i + 1], sample_id)
            if not text.startswith(through):
                raise DataError("sample", sample_id, _INCONSISTENT)
            if not through.startswith(before):
                raise DataError("sample", sample_id, _OTHER_PROMPT)
            end = len(through)
            spans.append(self._trimmed(text, len(before), end, messages[i], end))
        return spans

    def special_tokens(self) -> list[str]:
        """All special tokens of the tokenizer, longest first."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        tokens = {str(token) for token in self.tokenizer.all_special_tokens}
        tokens |= {str(token) for token in added if token.special}
        return sorted(tokens, key=len, reverse=True)

    def _check_prompt(
        self, text: str, messages: Sequence[Message], turns: Sequence[int], sample_id: str
    ) -> None:
        """Makes sure that the prompt before a last turn is the beginning of the whole text."""
        if turns and turns[-1] == len(messages) - 1 > 0:
            prompt = self.render(messages[:-1], sample_id, ask=True)
            if not text.startswith(prompt):
                raise DataError("sample", sample_id, _OTHER_PROMPT)

    def _apply(self, messages: Sequence[Message], **options: Any) -> Any:
        given = {"chat_template": self.text, **self.options, **options}
        return self.tokenizer.apply_chat_template(list(messages), **given)  # type: ignore[arg-type]

    def _has_markers(self) -> bool:
        own = self.text or self.tokenizer.get_chat_template()
        return bool(_GENERATION.search(own)) and self.tokenizer.is_fast

    def _marked(self, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """Character spans of the tokens that transformers says the assistant generates."""
        encoded = self._apply(
            messages,
            return_dict=True,
            return_assistant_tokens_mask=True,
            tokenizer_kwargs={"return_offsets_mapping": True},
        )
        spans: list[tuple[int, int]] = []
        inside = False
        for said, (start, end) in zip(
            encoded["assistant_masks"], encoded["offset_mapping"], strict=True
        ):
            if said and inside:
                spans[-1] = (spans[-1][0], end)
            elif said:
                spans.append((start, end))
            inside = bool(said)
        return spans

    def _trimmed(self, text: str, start: int, end: int, message: Message, limit: int) -> Span:
        """A turn up to the token that ends it, without what the template writes behind that."""
        said = re.escape(message["content"].strip())
        ends = [found.end() for found in re.compile(said).finditer(text, start, end)]
        specials = "|".join(map(re.escape, self.special_tokens())) or r"(?!)"
        if not ends:  # the template writes it in another way
            first = re.compile(specials).search(text, start, end)
            ends = [first.start() if first else end]
        for content_end in ends:  # what is said may also stand in what the template adds
            stop = re.compile(rf"\s*(?:{specials})").match(text, content_end, limit)
            if stop is not None and (stop.end() <= end or self._is_eos(stop[0])):
                return Span(start, stop.end(), True)
        return Span(start, ends[0], False)

    def _is_eos(self, text: str) -> bool:
        return text.strip() == self.tokenizer.eos_token
