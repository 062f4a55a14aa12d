"""Ways to damage adapter folders and JSON lines, each by a seeded generator."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmadapt.adapters.files import BASES, RECIPE, WEIGHTS, file_digest
from tests.fuzz.mutations import KINDS, PATHS, STRANGE, VALUES

ODD: list[Any] = [
    *VALUES, [[[]]], {"a": {"b": 1}}, "9" * 5000, float("nan"), float("inf"), 2**63, -(2**63),
    1e308, "\ud800", "\0", "x" * 100_000, ["\0"], [None, None], {"lm": []}, True, "a/b", "adapter",
]  # fmt: skip
LENGTHS = [0, 1, 7, 8, 99, 2**20, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]
DTYPES = [
    "F16",
    "BF16",
    "F64",
    "I8",
    "U8",
    "I32",
    "I64",
    "BOOL",
    "F8_E4M3",
    "C64",
    "F4",
    "X",
    "",
    3,
]
MEDIA = [
    "../secret.png", "../../etc/passwd", "/etc/passwd", "/dev/zero", "/dev/stdin", "out.png",
    "http://169.254.169.254/x.png", "file:///etc/passwd", "data:image/png;base64,aGk=", "loop.png",
    "a\0.png", "x" * 5000, "~/a.png", "fifo", ".", "..", "", "a.png/", "./a.png", "sub/../a.png",
    "sub/../../secret.png", "folder_out/secret.png", "\ud800.png", "A.PNG", "\\\\host\\a.png",
]  # fmt: skip
Tree = dict[str, Any]


def unpacked(data: bytes) -> tuple[Tree, bytes]:
    """Header and body of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def packed(header: Any, body: bytes, length: int | None = None) -> bytes:
    """A safetensors file, whose header may claim another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, some spans cut, doubled or moved."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        spot = rng.randrange(len(changed) + 1)
        way = rng.randrange(4)
        if way == 0 and changed:
            changed[spot % len(changed)] ^= 1 << rng.randrange(8)
        elif way == 1:
            changed[spot:spot] = rng.randbytes(rng.choice([1, 8, 100]))
        elif way == 2:
            del changed[spot : spot + rng.choice([1, 3, 50, 1000])]
        else:
            changed[spot:spot] = changed[spot : spot + rng.choice([1, 20, 300])]
    return bytes(changed)


def _rewrite(folder: Path, data: bytes, rng: random.Random) -> None:
    """Puts other weights there; mostly as if they had been saved so."""
    (folder / WEIGHTS).write_bytes(data)
    if rng.random() < 0.85:
        bases = json.loads((folder / BASES).read_text())
        bases["weights"] = file_digest(folder / WEIGHTS)
        (folder / BASES).write_text(json.dumps(bases))


def _header(folder: Path, rng: random.Random, change: Callable[[Tree, str], None]) -> None:
    header, body = unpacked((folder / WEIGHTS).read_bytes())
    names = sorted(name for name in header if name != "__metadata__")
    for name in rng.sample(names, rng.randrange(1, min(3, len(names) + 1))):
        change(header, name)
    _rewrite(folder, packed(header, body), rng)


def weights_bytes(folder: Path, rng: random.Random) -> None:
    """The tensors' file with bytes changed."""
    _rewrite(folder, flipped((folder / WEIGHTS).read_bytes(), rng), rng)


def weights_cut(folder: Path, rng: random.Random) -> None:
    """The tensors' file cut off, padded, or empty."""
    data = (folder / WEIGHTS).read_bytes()
    longer = data + rng.randbytes(rng.choice([1, 8, 4096]))
    _rewrite(folder, rng.choice([data[: rng.randrange(len(data))], b"", longer, data[:8]]), rng)


def header_lengths(folder: Path, rng: random.Random) -> None:
    """A header that claims another length."""
    header, body = unpacked((folder / WEIGHTS).read_bytes())
    _rewrite(folder, packed(header, body, rng.choice(LENGTHS)), rng)


def header_text(folder: Path, rng: random.Random) -> None:
    """A header that is no such JSON."""
    header, body = unpacked((folder / WEIGHTS).read_bytes())
    text = json.dumps(header).encode()
    nested = b"[" * rng.choice([10, 1000, 100_000])
    other = json.dumps(rng.choice(ODD)).encode()
    _rewrite(folder, packed(rng.choice([flipped(text, rng), nested, other, b""]), body), rng)


def shapes(folder: Path, rng: random.Random) -> None:
    """Shapes that are other, huge, negative or no shapes."""
    odd = [[], [0], [1], [2**62, 4], [-1], [2**64], [1] * 300, "x", None, [1.5], [[1]], {"a": 1}]

    def change(header: Tree, name: str) -> None:
        shape = header[name]["shape"]
        header[name]["shape"] = rng.choice([*odd, shape[::-1], [*shape, 1], [1, *shape]])

    _header(folder, rng, change)


def dtypes(folder: Path, rng: random.Random) -> None:
    """Other dtypes, mostly of another size."""
    _header(folder, rng, lambda header, name: header[name].update(dtype=rng.choice(DTYPES)))


def offsets(folder: Path, rng: random.Random) -> None:
    """Places that overlap, run backwards or out of the file."""

    def change(header: Tree, name: str) -> None:
        begin, end = header[name]["data_offsets"]
        other = [[0, end], [end, begin], [begin, 2**62], [-8, end], [begin + 1, end + 1], [0], "x"]
        header[name]["data_offsets"] = rng.choice([*other, [begin, end - 4], [2**64, 2**65]])

    _header(folder, rng, change)


def names(folder: Path, rng: random.Random) -> None:
    """Tensors renamed, dropped, added; among the names some that mean something elsewhere."""
    odd = [
        "",
        "..",
        "../../x",
        "lm.model.norm.weight",
        "__class__",
        "a" * 5000,
        "\0",
        "\ud800",
        "é",
    ]

    def change(header: Tree, name: str) -> None:
        entry = header.pop(name)
        if rng.random() < 0.8:
            header[rng.choice([*odd, name + "x", name.upper(), name.rpartition(".")[0]])] = entry

    _header(folder, rng, change)


def metadata(folder: Path, rng: random.Random) -> None:
    """Metadata of another format or type."""
    header, body = unpacked((folder / WEIGHTS).read_bytes())
    odd = [
        "2",
        "99",
        "-1",
        "0",
        "",
        "one",
        "9" * 5000,
        "1.0",
        " 1 ",
        "١",
        1,
        None,
        ["1"],
        {"a": "1"},
    ]
    value = {"format": "pt", "mmadapt_format": rng.choice(odd)}
    header["__metadata__"] = rng.choice([value, value, value, {}, None, [], "x"])
    _rewrite(folder, packed(header, body), rng)


def numbers(folder: Path, rng: random.Random) -> None:
    """NaN, infinities, denormals and noise for values: a right file of wrong numbers."""
    header, body = unpacked((folder / WEIGHTS).read_bytes())
    values = bytearray(body)
    for _ in range(rng.randrange(1, 50)):
        spot = 4 * rng.randrange(len(values) // 4)
        values[spot : spot + 4] = rng.choice(
            [b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\1\0\0\0", rng.randbytes(4)]
        )
    _rewrite(folder, packed(header, bytes(values)), rng)


def fingerprints(folder: Path, rng: random.Random) -> None:
    """The fingerprints' JSON with a value or key changed."""
    bases = json.loads((folder / BASES).read_text())
    owner = rng.choice([bases, bases["models"], *bases["models"].values()])
    key = rng.choice(list(owner))
    if rng.random() < 0.3:
        owner[rng.choice(["x", "", "encoders.other", "lm "])] = owner.pop(key)
    else:
        owner[key] = rng.choice(ODD)
    (folder / BASES).write_text(json.dumps(bases))


def fingerprint_bytes(folder: Path, rng: random.Random) -> None:
    """The fingerprints' file with bytes changed, or something else altogether."""
    data = (folder / BASES).read_bytes()
    whole = [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"9" * 9999]
    large = b" " * 2**21 + data
    data = flipped(data, rng) if rng.random() < 0.6 else rng.choice([*whole, large, data[:-9]])
    (folder / BASES).write_bytes(data)


def files(folder: Path, rng: random.Random) -> None:
    """Files missing, swapped, or pipes, folders and links in their places."""
    names = [WEIGHTS, BASES, RECIPE]
    file = folder / rng.choice(names)
    way = rng.randrange(6)
    if way == 0:
        os.replace(folder / rng.choice(names), folder / rng.choice(names))
        return
    file.unlink()
    if way == 1:
        file.mkdir()
    elif way == 2:
        os.mkfifo(file)
    elif way > 3:
        places = [
            "/etc/passwd",
            "/dev/zero",
            "/dev/stdin",
            "..",
            file.name,
            "../outside",
            "/absent",
        ]
        file.symlink_to(rng.choice([*places, "/proc/self/mem", "/proc/self/environ"]))


def recipe(folder: Path, rng: random.Random) -> None:
    """The recipe damaged in one of the ways of `mutations`."""
    kind = rng.choice(list(KINDS))
    damaged = KINDS[kind]((folder / RECIPE).read_text(), rng)
    data = damaged if isinstance(damaged, bytes) else damaged.encode("utf-8", "surrogatepass")
    (folder / RECIPE).write_bytes(data)


ADAPTERS: dict[str, Callable[[Path, random.Random], None]] = {
    function.__name__: function
    for function in (
        weights_bytes, weights_cut, header_lengths, header_text, shapes, dtypes, offsets, names,
        metadata, numbers, fingerprints, fingerprint_bytes, files, recipe, recipe, recipe,
    )
}  # fmt: skip


def _records(rng: random.Random) -> list[Tree]:
    """Right records of every form."""
    content = [{"type": "text", "text": "what?"}, {"type": "image", "path": "a.png"}]
    said = [{"role": "user", "content": content}, {"role": "assistant", "content": "a dog"}]
    forms: list[Tree] = [
        {"image": "a.png", "caption": "a dog"},
        {"image": ["a.png", "sub/b.png"], "captions": ["a", "b"], "id": "x"},
        {"audio": "a.wav", "label": "rain", "start": 0.5, "end": 2},
        {"image": "a.png", "question": "what?", "choices": ["a", "b"], "answer": 1},
        {"image": "a.png", "question": "who?", "answers": {"me": 2, "you": 1}, "split": "train"},
        {"messages": said},
        {"image": None, "caption": "text alone", "own": {"a": [1]}},
    ]
    return [{**rng.choice(forms)} for _ in range(rng.randrange(1, 6))]


def _lines(records: list[Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def jsonl_types(rng: random.Random) -> bytes:
    """A value of another type."""
    records = _records(rng)
    record = rng.choice(records)
    record[rng.choice(list(record))] = rng.choice(ODD)
    return _lines(records)


def jsonl_keys(rng: random.Random) -> bytes:
    """Keys dropped, misspelt, added, twice."""
    records = _records(rng)
    record = rng.choice(records)
    key = rng.choice(list(record))
    way = rng.randrange(4)
    if way == 3:
        return _lines(records) + f'{{"image": "a.png", "{key}": 1, "{key}": 2}}\n'.encode()
    value = record.pop(key)
    if way:
        others = [
            "",
            "x",
            "caption",
            "captions",
            "answer",
            "messages",
            "video",
            "path",
            "__class__",
        ]
        record[rng.choice([*others, key + "s", key.upper(), "é", "k" * 9999])] = value
    return _lines(records)


def jsonl_paths(rng: random.Random) -> bytes:
    """Media that lie elsewhere, are no files, or are addresses."""
    records = _records(rng)
    path = rng.choice([*MEDIA, *PATHS, *STRANGE])
    one = {"type": "image", "path": path}
    records[0] = rng.choice(
        [
            {"image": path, "caption": "x"},
            {"image": ["a.png", path], "caption": "x"},
            {"video": path, "caption": "x", "start": 1},
            {
                "messages": [
                    {"role": "user", "content": [one]},
                    {"role": "assistant", "content": "a"},
                ]
            },
        ]
    )
    return _lines(records)


def jsonl_numbers(rng: random.Random) -> bytes:
    """Times, weights and choices that are no such numbers."""
    odd = [
        "NaN",
        "Infinity",
        "-Infinity",
        "-1",
        "1e999",
        "9" * 5000,
        "2",
        "0",
        "true",
        '"1"',
        "null",
    ]
    value = rng.choice([*odd, "-0.0", "1e-999", "[1]"])
    forms = [
        '"audio": "a.wav", "label": "x", "start": %s',
        '"id": %s, "image": null, "caption": "x"',
    ]
    forms.append('"image": "a.png", "question": "?", "choices": ["a", "b"], "answer": %s')
    forms.append('"image": "a.png", "question": "?", "answers": {"a": %s}')
    return ("{" + rng.choice(forms) % value + "}\n").encode()


def jsonl_nesting(rng: random.Random) -> bytes:
    """Brackets by the thousand."""
    count = rng.choice([10, 500, 990, 5_000, 200_000])
    left, right = rng.choice([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
    close = right * count if rng.random() < 0.7 else ""
    return f'{{"image": "a.png", "caption": "x", "own": {left * count}1{close}}}\n'.encode()


def jsonl_text(rng: random.Random) -> bytes:
    """Lines cut, moved and mixed with odd letters."""
    return flipped(_lines(_records(rng)) * rng.randrange(1, 4), rng)


def jsonl_unicode(rng: random.Random) -> bytes:
    """Odd letters and other encodings."""
    records = _records(rng)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    spot = rng.randrange(len(text) + 1)
    text = text[:spot] + rng.choice(STRANGE) + text[spot:]
    codecs = ["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"]
    return text.encode(rng.choice(codecs), "surrogatepass")


def jsonl_sizes(rng: random.Random) -> bytes:
    """Nothing, blank lines, one long line, many lines."""
    record = _lines([{"image": "a.png", "caption": "x" * rng.choice([0, 10, 2_000_000])}])
    many = b'{"image": null, "caption": "x"}\n' * rng.choice([1, 3000])
    return rng.choice([b"", b"\n" * 9, b"\0" * 4096, record, many, record[:-1], many + record[:20]])


def jsonl_whole(rng: random.Random) -> bytes:
    """Right records, for a share of right answers."""
    return _lines(_records(rng))


JSONL: dict[str, Callable[[random.Random], bytes]] = {
    function.__name__: function
    for function in (
        jsonl_types, jsonl_keys, jsonl_paths, jsonl_numbers, jsonl_nesting, jsonl_text,
        jsonl_unicode, jsonl_sizes, jsonl_whole,
    )
}  # fmt: skip
