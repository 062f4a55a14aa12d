"""The fenced blocks of a Markdown document, with the marks that stand before them.

A mark is a comment right before a block, `<!-- word: text -->`. docs/reference/tested.md says which
there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

MARKS = ("file", "base", "output", "in full", "not run")
_MARK = re.compile(r"<!-- (?P<word>[a-z ]+?)(: (?P<text>.+?))? -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is that of its first line of text."""

    document: Path
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: Path, root: Path) -> list[Block]:
    """Every block of a document; text that is indented into a block is one, too."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    for token in MarkdownIt("commonmark").parse((root / document).read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            language = token.info.split()[0] if token.info.strip() else ""
            first = token.map[0] + (2 if token.type == "fence" else 1)
            found.append(Block(document, first, language, token.content, marks))
            marks = {}
        elif token.type == "html_block":
            said = {mark["word"]: mark["text"] or "" for mark in _MARK.finditer(token.content)}
            marks = marks | {word: text for word, text in said.items() if word in MARKS}
        elif token.nesting >= 0:
            marks = {}
    return found
