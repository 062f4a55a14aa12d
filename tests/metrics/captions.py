"""Made-up answers and references, as captions and as hard as texts get; a function of the seed."""

from __future__ import annotations

import random

SUBJECTS = (
    "a man",
    "two dogs",
    "the woman's cat",
    "a group of people",
    "an old bus",
    "three birds",
)
ACTIONS = (
    "rides",
    "runs past",
    "sits beside",
    "looks at",
    "is holding",
    "isn't near",
    "plays with",
)
OBJECTS = ("a red ball", "the street-car", "a wooden table", "surfboards", "a laptop", "some pizza")
PLACES = ("on a beach", "in the park", "at night", "near the lake", "under an umbrella", "outside")
HARD = (
    "well-known", "black-and-white", "t-shirt", "o'clock", "it's", "don't", "can't", "they're",
    "cannot", "gonna", "dogs'", "boy's", "1,000", "3.50", "$5", "50%", "10:30", "2-3", "3/4",
    "1990's", "'90s", "p.m.", "U.S.", "Mr. Smith", "no. 5", "café", "naïve", "Übergröße", "日本語",
    "“quoted”", "‘single’", '"plain"', "(maybe)", "[sic]", "{x}", "and/or", "…", "—", "–", "--",
    "wow!!", "really?!", "#tag", "@home", "a&b", "C++", "e.g.", "etc.", ";", ":", ",", "...",
)  # fmt: skip
ENDS = ("", "", ".", ".", " .", "!", "?", "...")
NOISE = "abcdeAB0123456789 .,;:!?'\"()-_/&%$#@*+=~"


def easy(rng: random.Random) -> str:
    """A caption as COCO has it."""
    words = [rng.choice(words) for words in (SUBJECTS, ACTIONS, OBJECTS, PLACES)]
    text = " ".join(words[: rng.randint(2, 4)])
    return (text.capitalize() if rng.random() < 0.5 else text) + rng.choice(ENDS)


def hard(rng: random.Random) -> str:
    """A caption with marks, contractions, hyphens, digits and letters beyond ASCII."""
    words = easy(rng).split()
    for _ in range(rng.randint(1, 4)):
        words.insert(rng.randint(0, len(words)), rng.choice(HARD))
    text = " ".join(words)
    return text.upper() if rng.random() < 0.05 else text


def noise(rng: random.Random) -> str:
    """Characters at random, which no caption has."""
    return "".join(rng.choice(NOISE) for _ in range(rng.randint(1, 30)))


def changed(text: str, rng: random.Random) -> str:
    """The text with a word left out, doubled or moved."""
    words = text.split()
    place = rng.randrange(len(words))
    word = words.pop(place)
    if rng.random() < 0.5:
        words.insert(rng.randint(0, len(words)), word)
    elif rng.random() < 0.5:
        words[place:place] = [word, word]
    return " ".join(words)


def pairs(count: int, seed: int, hardness: str = "mixed") -> list[tuple[str, list[str]]]:
    """Answers, each with one to five references.

    Answers repeat a reference, change one, say something else, or are empty; references repeat.

    Args:
        count: how many.
        seed: of everything.
        hardness: `easy`, `hard`, or `mixed` (a third each easy and hard, the rest of both).
    """
    rng = random.Random(seed)
    makers = {"easy": [easy], "hard": [hard], "mixed": [easy, hard]}[hardness]
    found: list[tuple[str, list[str]]] = []
    for _ in range(count):
        references = [rng.choice(makers)(rng) for _ in range(rng.randint(1, 5))]
        if rng.random() < 0.2:
            references.append(references[0])
        chance = rng.random()
        if chance < 0.15:
            answer = rng.choice(references)
        elif chance < 0.75:
            answer = changed(rng.choice(references), rng)
        elif chance < 0.92:
            answer = rng.choice(makers)(rng)
        else:
            answer = rng.choice(["", " ", "."])
        found.append((answer, references))
    return found
