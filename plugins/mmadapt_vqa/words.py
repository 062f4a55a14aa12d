"""The words that the official VQA evaluation takes for the same answer."""

from __future__ import annotations

ARTICLES = frozenset({"a", "an", "the"})

NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905
    )
} | {"none": "0"}

_CONTRACTED = """
    'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't
    hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am
    might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've there're
    there's they'd they'd've they'll they're they've wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're
    you've
"""


def _contractions() -> dict[str, str]:
    """Each contraction by its spellings with one apostrophe left out.

    The evaluation's table holds exactly these, one entry that takes an apostrophe away, and a few
    in upper case that no answer meets, because answers are lower-cased first.
    """
    spellings = {"somebody'd": "somebodyd"}
    for word in _CONTRACTED.split():
        for place, letter in enumerate(word):
            if letter == "'":
                spellings[word[:place] + word[place + 1 :]] = word
    return spellings


CONTRACTIONS = _contractions()
