"""Ways to damage a recipe: each takes a good text and gives another, by a seeded generator."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import yaml

from mmadapt.recipe.node import plain
from mmadapt.recipe.text import parse

Tree = Any
Damage = bytes | str
CANARY = "fuzz_canary"  # a module that tells when it is imported

STRANGE = [
    "é", "💥", "\u202e", "\u200b", "\ufeff", "\u2028", "\u2029", "\x85", "\x00", "\x07", "\x1b[1m",
    "\x7f", "\uffff", "\U0010ffff", "İ", "ﬀ", "\t", "\r", "\xa0", "𝔞", "Ａ", "１２", "\u0301" * 50,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 3, 0.5, -2.5, "", "x", "no", "1", "null", [], {}, [1, "a"], {"a": 1},
    [[]], {"use": "adem"}, [{"use": "adem"}], "module:Class", [None], {"": 1}, "\n", "a b", 10**30,
]  # fmt: skip
NUMBERS = [
    "9" * 399, "9" * 400, "9" * 20_000, "1e308", "1e309", "-1e999", "1e-999", ".nan", "-.inf", "-0",
    "0x" + "f" * 300, "0o" + "7" * 500, "1_000", "0b1", "1e", "٣", "+.5e+3", "18446744073709551616",
    "1:30", "0." + "3" * 5000, "-9223372036854775809", "00012", "2026-11-21", "1e" + "9" * 100,
]  # fmt: skip
TAGS = [
    "!!python/object/apply:os.system ['touch PWNED']", "!!python/name:os.system", "!!python/none",
    "!!python/object/new:fuzz_canary.Canary {}", "!!python/module:fuzz_canary", "!!binary aGk=",
    "!!set {a, b}", "!!int 'x'", "!local {a: 1}", "!<tag:yaml.org,2002:float> 3", "!!timestamp 1",
    "!!omap [a: 1]", "! x", "!!null x", "!e!thing x", "!%41 x",
]  # fmt: skip
PATHS = [
    "{self}", "./{self}", "../{self}", "absent.yaml", "video_caption_adem.yml", "..", ".", "", "/",
    "/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/mem", "/etc/passwd", "~/.bashrc",
    "https://example.org/a.yaml", "file:///etc/passwd", "\\\\host\\share", "a\0b.yaml", "x" * 5000,
    "fifo.yaml", "loop_a.yaml", "chain_0.yaml", "broken.yaml", "other.yaml", "link.yaml", "C:\\a",
    "[adem.yaml]", "{{a: adem.yaml}}", "3", "null", "*x", "$HOME/a.yaml", "../../../../etc/hosts",
]  # fmt: skip
CODE = [
    "os:system", f"{CANARY}:Canary", "builtins:eval", f"{CANARY}", f"{CANARY}:Canary.make",
    "__main__:main", "mmadapt.errors:RecipeError", "subprocess:Popen", "a:b:c", ":x", "x:",
]  # fmt: skip
SCHEMES = [
    "embedded:../../etc", "embedded:", "evil:x", "file:///etc/passwd", "http://127.0.0.1:9/x",
    "embedded:lm\0", "s3://bucket/x", "C:\\models", "/etc/passwd", "a" * 4000 + ":b", "~root",
]  # fmt: skip


def tree_of(text: str) -> Tree:
    """A recipe's text as plain data."""
    return plain(parse(text, "base"))


def places(tree: Tree, path: tuple = ()) -> list[tuple]:
    """Every path into a tree, the root's own left out."""
    steps = (
        list(tree) if isinstance(tree, dict) else range(len(tree) if isinstance(tree, list) else 0)
    )
    found = []
    for step in steps:
        found += [(*path, step), *places(tree[step], (*path, step))]
    return found


def put(tree: Tree, path: tuple, value: Any) -> None:
    """Replaces what stands at a path, in place."""
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value


def at(tree: Tree, path: tuple) -> Any:
    """What stands at a path."""
    for step in path:
        tree = tree[step]
    return tree


def written(tree: Tree) -> str:
    """A tree as YAML."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)


def with_snippet(text: str, rng: random.Random, snippet: str) -> str:
    """The text with a raw piece of YAML as the value of one of its keys."""
    tree = tree_of(text)
    put(tree, rng.choice(places(tree)), "SNIPPET")
    return written(tree).replace("SNIPPET", snippet, 1)


def types(text: str, rng: random.Random) -> Damage:
    """A value of another type."""
    tree = tree_of(text)
    for _ in range(rng.randrange(1, 4)):
        put(tree, rng.choice(places(tree)), copy.deepcopy(rng.choice(VALUES)))
    return written(tree)


def keys(text: str, rng: random.Random) -> Damage:
    """A key misspelt, dropped, moved or added."""
    tree = tree_of(text)
    found = [path for path in places(tree) if isinstance(path[-1], str)]
    path = rng.choice(found)
    owner, key = at(tree, path[:-1]), path[-1]
    other = at(tree, rng.choice(found)[:-1]) if rng.random() < 0.5 else tree
    value = owner.pop(key)
    way = rng.randrange(5)
    if way == 0:
        spot = rng.randrange(len(key) + 1)
        owner[key[:spot] + rng.choice("xyz_- .:") + key[spot + rng.randrange(2) :]] = value
    elif way == 1:
        owner[
            rng.choice(["lm", "use", "name", "extra", "__class__", "__init__", "model_config"])
        ] = value
    elif way == 2:
        other[key] = copy.deepcopy(value)
    elif way == 3:
        owner[rng.choice(["1", "null", "true", "a.b", " ", "é", "k" * 300])] = value
    return written(tree)


def nesting(text: str, rng: random.Random) -> Damage:
    """A value wrapped in lists and mappings, up to hundreds of levels."""
    tree = tree_of(text)
    path = rng.choice(places(tree))
    value = at(tree, path)
    for _ in range(rng.choice([1, 2, 5, 28, 33, 60, 150])):
        value = [value] if rng.random() < 0.5 else {rng.choice(["a", "use", "x"]): value}
    put(tree, path, value)
    return written(tree)


def deep(text: str, rng: random.Random) -> Damage:
    """Thousands of levels of raw brackets, braces or dashes."""
    count = rng.choice([33, 1_000, 20_000, 100_000])
    piece = rng.choice(["[", "{a: ", "- ", "? ", "[{", "a: [", "'", "&a [", "- - "]) * count
    return with_snippet(text, rng, piece) if rng.random() < 0.7 else piece


def unicode(text: str, rng: random.Random) -> Damage:
    """Odd letters, control characters and other encodings."""
    for _ in range(rng.randrange(1, 4)):
        spot = rng.randrange(len(text) + 1)
        text = text[:spot] + rng.choice(STRANGE) + text[spot:]
    way = rng.randrange(8)
    if way < 5:
        return text
    if way == 5:
        return text.encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"]))
    data = bytearray(text.encode())
    for _ in range(rng.randrange(1, 5)):
        data[rng.randrange(len(data))] = rng.randrange(128, 256)
    return bytes(data)


def escapes(text: str, rng: random.Random) -> Damage:
    """Escapes in quoted text: NUL, lone surrogates, unknown ones."""
    piece = rng.choice(
        ["\\0", "\\ud800", "\\udfff\\ud800", "\\x00\\x1b", "\\U00110000", "\\q", "\\N", "\\"]
    )
    snippet = f'"{piece}"' if rng.random() < 0.7 else f'{{"{piece}": 1}}'
    return with_snippet(text, rng, snippet)


def anchors(text: str, rng: random.Random) -> Damage:
    """Anchors and aliases: good ones, unknown ones, ones that hold themselves."""
    tree = tree_of(text)
    first, second = rng.choice(places(tree)), rng.choice(places(tree))
    put(tree, first, "FIRST")
    if second[: len(first)] != first:
        put(tree, second, "SECOND")
    value = rng.choice(["{use: adem}", "[1]", "x", "3", "[*a]", "{k: *a}", "null", "*b"])
    alias = rng.choice(["*a", "*a", "*b", "&a *a", "[*a, *a]", "{*a : 1}", "*", "&", "{<<: *a}"])
    return written(tree).replace("FIRST", f"&a {value}", 1).replace("SECOND", alias, 1)


def merge_keys(text: str, rng: random.Random) -> Damage:
    """The merge key of YAML 1.1."""
    snippet = rng.choice(
        ["{<<: {use: adem}}", "{<<: [{a: 1}, {b: 2}]}", "{<<: *a}", "{'<<': 1}", "<<"]
    )
    return f"<<: {{a: 1}}\n{text}" if rng.random() < 0.2 else with_snippet(text, rng, snippet)


def bombs(text: str, rng: random.Random) -> Damage:
    """Aliases that double and redouble (a billion laughs)."""
    count, wide = rng.choice([5, 9, 20, 60, 2000]), rng.choice([2, 9, 50])
    lists = rng.random() < 0.5
    lines = ["a0: &a0 " + ("[x]" if lists else "{x: x}")]
    for n in range(1, count):
        inner = ", ".join(f"*a{n - 1}" if lists else f"k{i}: *a{n - 1}" for i in range(wide))
        lines.append(f"a{n}: &a{n} " + (f"[{inner}]" if lists else f"{{{inner}}}"))
    return "\n".join(lines) + "\n" + text


def numbers(text: str, rng: random.Random) -> Damage:
    """Numbers too large, too small, or of another notation."""
    return with_snippet(text, rng, rng.choice(NUMBERS))


def tags(text: str, rng: random.Random) -> Damage:
    """YAML tags, those that build Python objects among them."""
    head = rng.choice(["", "", "", "%TAG ! tag:yaml.org,2002:python/\n---\n", "%YAML 1.1\n---\n"])
    return head + with_snippet(text, rng, rng.choice(TAGS))


def duplicates(text: str, rng: random.Random) -> Damage:
    """A line written twice."""
    lines = text.splitlines(keepends=True)
    spot = rng.randrange(len(lines))
    lines.insert(rng.randrange(spot, len(lines) + 1), lines[spot])
    return "".join(lines)


def long_lines(text: str, rng: random.Random) -> Damage:
    """Values, keys, comments and lists of up to two million letters."""
    size = rng.choice([3_000, 100_000, 700_000, 2_000_000])
    letter = rng.choice(["a", "é", " x", "a: ", "-", "{", "'\"", "x.y", "[],"])
    piece = letter * (size // len(letter.encode()))
    snippet = rng.choice(
        [piece, f"'{piece}'", f"[{'x, ' * (size // 3)}]", f"{{{piece}: 1}}", f"x # {piece}"]
    )
    if rng.random() < 0.3:
        return f"{letter.strip(': ') * (size // len(letter.encode()))}: 1\n{text}"
    return with_snippet(text, rng, snippet)


def extends(text: str, rng: random.Random) -> Damage:
    """`extends:` in a circle, far away, on devices, or of another type."""
    tree = tree_of(text)
    tree.pop("extends", None)
    if rng.random() < 0.3:
        tree = {"name": "short"}
    path = rng.choice(PATHS).format(self="fuzzed.yaml")
    line = json.dumps(path) if rng.random() < 0.8 else path
    return f"extends: {line}\n" + written(tree)


def code(text: str, rng: random.Random) -> Damage:
    """`module:Class` where nobody allowed code."""
    tree = tree_of(text)
    uses = [path for path in places(tree) if path[-1] == "use"] or places(tree)
    put(tree, rng.choice(uses), rng.choice(CODE))
    return written(tree)


def schemes(text: str, rng: random.Random) -> Damage:
    """Models that are no model ids."""
    tree = tree_of(text)
    models = [
        path for path in places(tree) if path[-1] in ("model", "tokenizer", "configs", "images")
    ]
    put(tree, rng.choice(models or places(tree)), rng.choice(SCHEMES))
    return written(tree)


def documents(text: str, rng: random.Random) -> Damage:
    """Several documents, directives, nothing at all."""
    spot = rng.randrange(len(text.splitlines()) + 1)
    lines = text.splitlines()
    lines.insert(
        spot, rng.choice(["---", "...", "%YAML 1.1", "%YAML 9.9", "%FOO", "---\n---", "--- |"])
    )
    whole = [
        "",
        " ",
        "\n\n",
        "#",
        "null",
        "[]",
        "3",
        "'",
        "{",
        "---\n---\n",
        "...",
        "\t",
        "- a\nb: c",
        "?",
    ]
    return rng.choice(whole) if rng.random() < 0.3 else "\n".join(lines)


def spaces(text: str, rng: random.Random) -> Damage:
    """Indentation by tabs, by one more or less, other line ends."""
    way = rng.randrange(3)
    if way == 0:
        return text.replace("\n", rng.choice(["\r", "\r\n", "\n\n", "\n ", "\x85", "\u2028"]))
    lines = text.splitlines()
    for _ in range(rng.randrange(1, 4)):
        spot = rng.randrange(len(lines))
        lines[spot] = (
            rng.choice([" ", "\t", "   "]) + lines[spot] if way == 1 else lines[spot].lstrip()
        )
    return "\n".join(lines)


def pieces(text: str, rng: random.Random) -> Damage:
    """Spans deleted, repeated, moved; the text cut off."""
    for _ in range(rng.randrange(1, 5)):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice([1, 1, 2, 5, 20, 100, 1000]))
        words = [
            text[start:stop] * rng.randrange(3),
            rng.choice("[]{}:,#&*!|>'\"%@`?-\n "),
            chr(rng.randrange(1, 0x3000)),
        ]
        text = text[:start] + rng.choice(words) + text[stop:]
    return text[: rng.randrange(len(text) + 1)] if rng.random() < 0.2 else text


KINDS: dict[str, Callable[[str, random.Random], Damage]] = {
    function.__name__: function
    for function in (
        types, keys, nesting, deep, unicode, escapes, anchors, merge_keys, bombs, numbers, tags,
        duplicates, long_lines, extends, code, schemes, documents, spaces, pieces,
    )
}  # fmt: skip


def override(rng: random.Random, known: dict[str, str]) -> list[str]:
    """Up to three `key=value`, a third of them as the recipe has it, the others wrong.

    Args:
        rng: of the case.
        known: dotted keys of the recipe and their values.
    """
    found = []
    for _ in range(rng.randrange(1, 4)):
        key = rng.choice(list(known))
        way = rng.randrange(12)
        if way > 7:
            found.append(f"{key}={known[key]}")
            continue
        if way == 0:
            key = key[: rng.randrange(len(key) + 1)] + rng.choice(
                ["x", ".", "..", ".0", ".-1", ".99", " "]
            )
        elif way == 1:
            key += "." + rng.choice(
                ["use", "0", "a.b.c", "x" * 5000, "\udcff", "\0", ".".join("a" * 500)]
            )
        values = [*NUMBERS, *TAGS, *CODE, *SCHEMES, *STRANGE, *map(json.dumps, VALUES)]
        value = rng.choice(
            [*values, "[" * 5000, "*a", "&a x", "a: b", "\udcff", "- x", "=", "{", "'"]
        )
        found.append(key + rng.choice(["=", "=", "=", "=", "==", " = ", ""]) + value)
    return found
