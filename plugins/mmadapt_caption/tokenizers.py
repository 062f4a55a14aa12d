"""The tokenizers that caption metrics may use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmadapt_caption import java, tokens

Tokenizer = Literal["builtin", "ptb"]


def tokenize_all(texts: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """Texts as tokens with one space between, lower-cased, without punctuation.

    Args:
        texts: captions.
        tokenizer: `builtin` (no Java, `tokens.py`) or `ptb` (the COCO caption tools' own).

    Raises:
        MissingDependency: `ptb` without Java.
    """
    if tokenizer == "builtin":
        return [" ".join(tokens.tokenize(text)) for text in texts]
    return [
        " ".join(token for token in line if token not in tokens.DROPPED_BY_TOOLS)
        for line in java.ptb_lines(texts)
    ]


def described(tokenizer: Tokenizer) -> str:
    """A tokenizer with its version, for the settings of a metric."""
    if tokenizer == "builtin":
        return f"{tokens.NAME}, version {tokens.VERSION}"
    return f"ptb: PTBTokenizer of Stanford CoreNLP {java.CORENLP}, lower-cased, punctuation dropped"
