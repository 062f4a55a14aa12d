"""The texts the language model is pretrained on: how captions, questions and answers are worded.

Combinations are drawn evenly from the *full* product of words: the model is told nothing of media,
and must not learn from wording alone which combinations the media splits hold out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmadapt_shapes.world import (
    CAPTIONS,
    FIELDS,
    QUESTIONS,
    Medium,
    caption,
    joint_caption,
)

OPENINGS: dict[Medium, str] = {
    "video": "a video of",
    "image": "a picture of",
    "audio": "a sound of",
}
DESCRIBE = "what is there?"
_SHARES = (0.15, 0.1, 0.15, 0.4, 0.2)
_NOTED = 0.9
_EXTRA_WORDS = ("describe this image clip sound and yes no not options or",)


def _draw(rng: np.random.Generator, medium: Medium) -> dict[str, str]:
    """Draw each field by itself, evenly: every combination is as likely as any other."""
    return {name: str(rng.choice(values)) for name, values in FIELDS[medium].items()}


def _facts(rng: np.random.Generator) -> tuple[str, dict[str, str], list[str]]:
    """Draw a caption with its opening, the answers that it settles, and the values it names."""
    medium: Medium = ("video", "image", "audio", "video")[rng.integers(4)]
    drawn = _draw(rng, medium)
    answers = {QUESTIONS[medium][name]: value for name, value in drawn.items()}
    words = caption(medium, drawn)
    if medium == "video" and rng.random() < 0.4:
        sound = _draw(rng, "audio")
        words = joint_caption(drawn, sound)
        answers |= {QUESTIONS["audio"][name]: value for name, value in sound.items()}
    values = list(answers.values())
    answers[DESCRIBE] = words
    return f"{OPENINGS[medium]} {words}", answers, values


def _notes(rng: np.random.Generator, values: list[str]) -> str:
    """List most of the values in a random order, in brackets."""
    kept = [value for value in values if rng.random() < _NOTED]
    return f"({' '.join(rng.permutation(kept))})" if kept else "()"


def sample_text(rng: np.random.Generator) -> str:
    """Draw one training text: a caption, a question with its answer, or both.

    Most texts begin with what settles the rest, notes in brackets or the caption itself, so that
    the model learns to look back and use what it finds: a fusion has only this to appeal to.

    Example:
        >>> sample_text(np.random.default_rng(0)).startswith(("a ", "question:", "("))
        True
    """
    sentence, answers, values = _facts(rng)
    question = str(rng.choice(list(answers)))
    asked = f"question: {question} answer: {answers[question]}"
    notes = _notes(rng, values)
    texts = (sentence, asked, f"{sentence}. {asked}", f"{notes} {sentence}", f"{notes} {asked}")
    return str(rng.choice(texts, p=_SHARES))


def vocabulary() -> list[str]:
    """Return every word and mark of the grammar, sorted."""
    return sorted({word for text in _wordings() for word in _split(text)})


def _wordings() -> Iterator[str]:
    yield from (*OPENINGS.values(), DESCRIBE, "question: answer: . , ( )", *_EXTRA_WORDS)
    yield joint_caption(*({n: v[0] for n, v in FIELDS[m].items()} for m in ("video", "audio")))
    for medium, fields in FIELDS.items():
        yield CAPTIONS[medium].format_map(dict.fromkeys(fields, "a"))
        yield from QUESTIONS[medium].values()
        yield from (value for values in fields.values() for value in values)


def _split(text: str) -> list[str]:
    for mark in ".,?:()":
        text = text.replace(mark, f" {mark} ")
    return text.split()
