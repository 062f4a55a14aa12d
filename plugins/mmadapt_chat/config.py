"""Options of the chat head."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from mmadapt.contracts import HeadConfig

_OWN = {"messages", "add_generation_prompt", "tools", "documents"}  # set by the head itself


class ChatConfig(HeadConfig):
    """Options of the chat head.

    Args:
        system: System prompt of conversations that bring none; default: the template's own.
        prompt: The user's turn of samples that bring neither messages nor a prompt.
        turns: Learn `all` of the assistant's turns, or only the `last`.
        chat_template: A Jinja template in place of the tokenizer's, or for one without.
        template_options: Variables of the template, such as `enable_thinking: false`.
    """

    system: str | None = None
    prompt: str | None = None
    turns: Literal["all", "last"] = "all"
    chat_template: str | None = Field(default=None, min_length=1)
    template_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("template_options")
    @classmethod
    def _are_free(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(value) & _OWN):
            raise ValueError(f"must not set {taken[0]}, which the head sets itself")
        return value
