"""Streaming: a streamer of transformers is shown the caller's prompt, then every new token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import TextStreamer
from transformers.generation.streamers import BaseStreamer

from mmadapt.errors import DataError

_ENDED = "_streamer_has_ended"


class PromptStreamer(BaseStreamer):
    """Stands before a streamer: its first value is the prompt as the caller has it.

    What the LM reads is longer, by padding and by the tokens that fusions insert. A streamer's own
    `skip_prompt` leaves the prompt out.

    Args:
        streamer: of transformers, or any other with `put` and `end`.
        prompt: (b, s) ids.
    """

    def __init__(self, streamer: Any, prompt: Tensor) -> None:
        self.streamer, self.prompt = streamer, prompt
        self._has_begun = False

    def put(self, value: Tensor) -> None:
        """Hands tokens on, in place of the first ones the prompt."""
        self.streamer.put(value if self._has_begun else self.prompt)
        self._has_begun = True

    def end(self) -> None:
        """Ends the streamer."""
        self.streamer.end()


def with_prompt(
    options: Mapping[str, Any], input_ids: Tensor, attention_mask: Tensor | None, rows: int
) -> dict[str, Any]:
    """Options whose `streamer`, if there is one, is shown the caller's prompt.

    Args:
        options: of `generate`.
        input_ids: (b, s) as the caller gave them.
        attention_mask: (b, s), 1 at real tokens; the padding of a single prompt is not shown.
        rows: that the LM makes of a sample: beams, sequences.

    Raises:
        DataError: beams are searched, or a `TextStreamer` is given several texts.
    """
    streamer = options.get("streamer")
    if streamer is None:
        return dict(options)
    texts = rows * len(input_ids)
    if (options.get("num_beams") or 1) > 1:
        reason = "a streamer shows one text as it grows, and beams are several; set num_beams: 1"
        raise DataError("generate", None, reason)
    if texts > 1 and isinstance(streamer, TextStreamer):
        name = type(streamer).__name__
        reason = f"{name} shows one text, not {texts}; ask about one sample at a time"
        raise DataError("generate", None, reason)
    prompt = input_ids.cpu()
    if len(prompt) == 1 and attention_mask is not None:
        prompt = prompt[:, attention_mask[0].bool().cpu()]
    if rows > 1:
        prompt = prompt.repeat_interleave(rows, dim=0)
    return {**options, "streamer": PromptStreamer(streamer, prompt)}


@contextmanager
def ended_by_errors(streamer: Any) -> Iterator[None]:
    """Ends a streamer when the block fails, so that nobody waits for its next word."""
    try:
        yield
    except BaseException as error:
        if streamer is not None and not getattr(error, _ENDED, False):
            setattr(error, _ENDED, True)  # blocks may stand in one another
            streamer.end()
        raise
