"""Words of a caption as the COCO caption tools see them, without their Java.

Those tools run Stanford's PTBTokenizer in lower case and drop punctuation tokens before scoring.
The rules here are the ones that captions meet: contractions, possessives, hyphens, numbers,
brackets, abbreviations, addresses. Smileys, joined letters (`a&b`), versions (`v2.0`) and currency
signs other than `$` may be split differently; docs/metrics.md tells by how much scores differ.
"""

from __future__ import annotations

import re

NAME = "builtin: PTB-like, lower-cased, punctuation dropped"
VERSION = "1"  # raised with every change of what a text is split into

# What the tools drop after tokenising. Brackets stay, as `-lrb-` and so on: the tools compare
# them with upper-case names that lower-casing has made unreachable, and reported numbers include
# that.
DROPPED_BY_TOOLS = frozenset({"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"})
DROPPED = DROPPED_BY_TOOLS | {'"'}  # which the tools' tokenizer turns into `` and ''

_PLAIN = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": " -- ",
        "\u2014": " -- ",
        "\u2026": " ... ",
    }
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SPLIT = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "gimme": "gim me",
    "lemme": "lem me",
    "'tis": "'t is",
    "'twas": "'t was",
}
_TOKEN = re.compile(
    r"""
      https?://[^\s"'<>()]*[^\s"'<>().,;:?!]
    | c\+\+(?!\w)
    | (?:(?<!\w)[^\W\d_]\.){1,}[^\W\d_]\.                       # u.s., p.m.
    | (?<!\w)(?:mr|mrs|ms|dr|st|prof|jr|sr|vs|etc|inc|co|ph\.d)\.
    | (?<!\w)no\.(?=\s*\d)                                      # no. 5
    | \w+?(?=n't\b) | n't\b                                     # do n't
    | 't(?:is|was)\b | '(?:s|m|d|re|ve|ll)\b | '\d+s\b          # 's, 'll, '90s
    | (?<![\w-])-?\d+(?:,\d+)*(?:[.:]\d+)?(?![\w-]|/\w|[.]\w)   # -5, 1,000, 3.50, 10:30
    | [#@][^\W\d_]\w*                                           # #tag
    | [^\W_]+(?:[-_./@]+[^\W_]+|'(?!(?:s|m|d|re|ve|ll)\b)\w+)*   # well-known, and/or, o'clock
    | \.{2,} | -{2,} | [?!]+ | ``|''
    | \S
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> list[str]:
    """Splits a caption into the tokens that caption metrics count.

    Args:
        text: any text; line breaks count as spaces.

    Returns:
        Lower-case tokens without punctuation.

    Example:
        >>> tokenize("A man's dog isn't here (yet).")
        ['a', 'man', "'s", 'dog', 'is', "n't", 'here', '-lrb-', 'yet', '-rrb-']
    """
    found = _TOKEN.findall(text.translate(_PLAIN).lower())
    words = (_SPLIT.get(token, _BRACKETS.get(token, token)) for token in found)
    kept = (word for word in words if word not in DROPPED and not re.fullmatch(r"\.+|-+", word))
    return " ".join(kept).split()
