"""The rule of the VQA evaluation, written a second time from its description, to compare with.

Character by character and with explicit loops, where the shipped code uses replacements.
"""

from __future__ import annotations

import random
from fractions import Fraction

MARKS = set(';/[]"{}()=+\\_-><@`,?!')
DIGITS = "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905
APOSTROPHES = {
    "aint": "ain't", "arent": "aren't", "cant": "can't", "couldnt": "couldn't", "didnt": "didn't",
    "doesnt": "doesn't", "dont": "don't", "hadnt": "hadn't", "hasnt": "hasn't",
    "havent": "haven't", "hes": "he's", "isnt": "isn't", "itll": "it'll", "oclock": "o'clock",
    "shouldve": "should've", "shouldnt": "shouldn't", "somebody'd": "somebodyd",
    "thats": "that's", "theres": "there's", "theyre": "they're", "theyve": "they've",
    "wasnt": "wasn't", "weve": "we've", "werent": "weren't", "whats": "what's", "wheres": "where's",
    "whos": "who's", "wont": "won't", "wouldnt": "wouldn't", "wouldn'tve": "wouldn't've",
    "yall": "y'all", "youre": "you're", "youve": "you've",
}  # fmt: skip
WORDS = (
    "a", "an", "the", "The", "two", "Ten", "none", "None", "yes", "No", "cat", "Dogs", "red,",
    "blue.", "u.s.", "3.5", "3.", ".5", "3,000", "1,2", "10:30", "left/right", "well-known",
    "(maybe)", '"so"', "what?", "ok!", "black;", "@home", "_x_", "it's", "dogs'", "café", "&", "%",
    "-", "--", "/", ",", ".", "one,", *APOSTROPHES,
)  # fmt: skip


def reduced(text: str) -> str:
    """An answer as the evaluation compares it."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    padded = f"\0{text}\0"
    near_space = {
        own
        for before, own, after in zip(padded, padded[1:], padded[2:], strict=False)
        if own in MARKS and " " in (before, after)
    }
    numbers = any(
        text[i].isdigit() and text[i + 1] == "," and text[i + 2].isdigit()
        for i in range(len(text) - 2)
    )
    kept = ""
    for own in text:
        if own in MARKS:
            kept += "" if numbers or own in near_space else " "
        else:
            kept += own
    words = []
    for word in without_periods(kept).lower().split():
        value = "0" if word == "none" else str(DIGITS.index(word)) if word in DIGITS else word
        if value not in ("a", "an", "the"):
            words.append(APOSTROPHES.get(value, value))
    return " ".join(words)


def without_periods(text: str) -> str:
    """No period stays unless a digit follows; only the first 32 are looked at."""
    kept, dropped = "", 0
    for place, own in enumerate(text):
        before_digit = text[place + 1 : place + 2].isdigit()
        if own == "." and not before_digit and dropped < 32:
            dropped += 1
        else:
            kept += own
    return kept


def accuracy(answer: str, people: list[str]) -> Fraction:
    """The mean over people of min(1, matches among the others / 3)."""
    said = [text.replace("\n", " ").replace("\t", " ").strip() for text in people]
    given = answer.replace("\n", " ").replace("\t", " ").strip()
    if any(text != said[0] for text in said):
        said, given = [reduced(text) for text in said], reduced(given)
    total = Fraction(0)
    for left_out in range(len(said)):
        matches = sum(text == given for i, text in enumerate(said) if i != left_out)
        total += min(Fraction(1), Fraction(matches, 3))
    return total / len(said)


def answer(rng: random.Random) -> str:
    """Up to four words that the rule does something to."""
    text = rng.choice([" ", " ", "  ", "\n"]).join(rng.choices(WORDS, k=rng.randint(0, 4)))
    return text.upper() if rng.random() < 0.1 else text


def cases(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Answers, each with what ten people said: some agree, all agree, or nobody does."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        pool = [answer(rng) for _ in range(rng.randint(1, 4))]
        people = [rng.choice(pool) for _ in range(10)]
        found.append((rng.choice([*pool, pool[0].upper(), f"a {pool[0]}.", "zebra"]), people))
    return found
