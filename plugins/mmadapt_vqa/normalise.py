"""Answers as the official VQA evaluation compares them."""

from __future__ import annotations

import re

from mmadapt_vqa.words import ARTICLES, CONTRACTIONS, NUMBERS

NAME = "marks, articles, number words, contractions as in the VQA evaluation"
VERSION = "1"  # raised with every change of what a text is reduced to

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_NUMBER_WITH_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32  # the evaluation removes no more than so many, by a slip in its call of `sub`


def plain(text: str) -> str:
    """The text on one line, without spaces around it: all that is done where everybody agrees."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalise(text: str) -> str:
    """Reduces an answer to what counts: no marks, articles or capitals, digits for number words.

    The rules are those of the VQA evaluation (Antol et al. 2015, section 4), its slips included: a
    mark becomes nothing where any is next to a space or where a number holds a comma, else a space;
    periods go unless a digit follows; colons and apostrophes stay.

    Example:
        >>> normalise("The two dogs, dont move.")
        "2 dogs don't move"
    """
    words = _without_marks(plain(text)).lower().split()
    words = [NUMBERS.get(word, word) for word in words]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _without_marks(text: str) -> str:
    joined = _NUMBER_WITH_COMMA.search(text) is not None
    result = text
    for mark in _MARKS:
        touches_space = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if touches_space or joined else " ")
    return _PERIOD.sub("", result, count=_PERIODS)
