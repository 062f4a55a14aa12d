"""Every source, every kind of damage: one line that names file and record, and exit code 2."""

from __future__ import annotations

import copy

import pytest
import yaml
from typer.testing import CliRunner

from mmadapt.cli.app import app
from tests.plugins.spoiling import EVERY, again, change, recipe, rewrite, written

VARIANTS = ("missing key", "dangling id", "duplicate id", "wrong type")
NEW = "999"
RECORDS = {  # by source and variant: which file, what is done to it, and what the error names
    "coco": (
        (0, change("annotations", 1, "caption", "del"), "annotations[1]: lacks 'caption'"),
        (0, change("annotations", 1, "image_id", 999), "annotations[1]: speaks of image 999"),
        (0, again("images"), "images[2]: has the id 9 of images[0]"),
        (0, change("images", 1, "file_name", [1]), "images[1]: 'file_name' must be text"),
    ),
    "karpathy": (
        (0, change("images", 1, "sentences", "del"), "images[1]: lacks 'sentences'"),
        (0, change("images", 1, "filename", "none.jpg"), "images[1]: names a file that does not"),
        (0, again("images"), "images[4]: has the id '5' of images[0]"),
        (0, change("images", 1, "sentences", "a"), "images[1]: 'sentences' must be a list"),
    ),
    "vqav2": (
        (0, change("questions", 1, "image_id", "del"), "questions[1]: lacks 'image_id'"),
        (1, change("annotations", 1, "question_id", 999), "annotations[1]: answers question 999"),
        (0, again("questions"), "questions[2]: has the question_id 9000 of questions[0]"),
        (1, change("annotations", 1, "answers", {}), "annotations[1]: 'answers' must be a list"),
    ),
    "gqa": (
        (0, change("02930152", "question", "del"), "02930152: lacks 'question'"),
        (0, change("02930152", "imageId", NEW), "02930152: names a file that does not exist"),
        (0, '{"7": {"question": "a?"}, "7": {"question": "b?"}}', "has the key '7' twice"),
        (0, change("02930152", "answer", ["yes"]), "02930152: 'answer' must be text, not a list"),
    ),
    "scienceqa": (
        (0, change("2", "choices", "del"), "2: lacks 'choices'"),
        (1, change("train", 1, NEW), "'train' names problem 999"),
        (1, again("train"), "1: has the id '1' of 1"),
        (0, change("2", "answer", "c"), "2: 'answer' must be a whole number, not text"),
    ),
    "llava": (
        (0, change(1, "conversations", 0, "value", "del"), "[1].conversations[0]: lacks 'value'"),
        (0, change(1, "image", "coco/999.jpg"), "[1]: names a file that does not exist"),
        (0, '[{"id": "1", "id": "2"}]', "has the key 'id' twice"),
        (0, change(1, "conversations", "hi"), "[1]: 'conversations' must be a list, not text"),
    ),
    "lavin": (
        (0, change("all", 1, "instruction", "del"), "all[1]: lacks 'instruction'"),
        (0, change("all", 1, "image", NEW), "all[1]: names a file that does not exist"),
        (0, again("all"), "all[4]: has the id 'alpaca_0' of all[0]"),
        (0, change("all", 1, "answer", 3), "all[1]: 'answer' must be text, not a number"),
    ),
    "msrvtt": (
        (0, change("sentences", 1, "caption", "del"), "sentences[1]: lacks 'caption'"),
        (0, change("sentences", 1, "video_id", NEW), "sentences[1]: speaks of 999"),
        (0, again("sentences"), "sentences[3]: has the sen_id 0 of sentences[0]"),
        (0, change("sentences", 1, "caption", None), "sentences[1]: 'caption' must be text, not n"),
    ),
    "msrvtt_qa": (
        (0, change(0, "answer", "del"), "[0]: lacks 'answer'"),
        (0, change(0, "video_id", 999), "[0]: names a file that does not exist"),
        (0, again(), "[1]: has the id '0' of [0]"),
        (0, change(0, "video_id", {}), "[0]: 'video_id' must be text or a whole number"),
    ),
    "msvd_qa": (
        (0, change(0, "question", "del"), "[0]: lacks 'question'"),
        (0, change(0, "video_id", 999), "[0]: asks about vid999"),
        (1, "a vid1\nb vid1\n", "youtube_mapping.txt:2: must have a clip's name and its own"),
        (0, change(0, [1]), "[0]: is a list, not an object"),
    ),
    "audiocaps": (
        (0, change(2, ["1", "x"]), "val.csv:3: lacks 'start_time'"),
        (0, change(3, 1, "none"), "val.csv:4: names a file that does not exist"),
        (0, again(), "val.csv:5: has the audiocap_id 97151 of 2"),
        (0, change(2, ["1", "vfY_TJq7n_U", "130", "a", "b"]), "val.csv:3: has 5 fields for 4 col"),
    ),
    "clotho": (
        (0, change(1, ["a.wav", "b"]), ".csv:2: lacks 'caption_2'"),
        (0, change(1, 0, "none.wav"), ".csv:2: names a file that does not exist"),
        (0, again(), ".csv:3: has the id 'Distorted AM Radio noise.wav' of 2"),
        (0, change(1, ["a"] * 7), ".csv:2: has 7 fields for 6 columns"),
    ),
    "jsonl": (
        (0, change(1, "captions", "del"), "train.jsonl:2: says nothing to learn: it needs"),
        (0, change(1, "image", "none.png"), "train.jsonl:2: 'image' names a file that does not"),
        (0, again(), "train.jsonl:4: has the id 'a' of line 1"),
        (0, change(1, "captions", "a"), "train.jsonl:2: 'captions' must be a list, not text"),
    ),
    "hf_jsonl": (
        (0, change(1, "said", "del"), "train.jsonl:row 1: 'said' must be text, not null"),
        (0, change(1, "file", "none.png"), "none.png: cannot read image: "),
        (0, again(), "train.jsonl:row 3: has the id 'red' of row 0"),
        (0, change(1, "said", ""), "train.jsonl:row 1: 'said' is empty"),
    ),
    "hf_csv": (
        (0, change(0, 1, "says"), "train.csv: has no column 'said' (columns.target)"),
        (0, change(2, 2, "none.png"), "none.png: cannot read image: "),
        (0, again(), "train.csv:row 3: has the id 'red' of row 0"),
        (0, change(2, 1, ""), "train.csv:row 1: 'said' must be text, not null"),
    ),
    "webdataset": (
        (0, change(1, "json", "said", "del"), "train.tar:blue: has no column 'said'"),
        (0, change(1, "png", "del"), "train.tar:blue: has no column 'png'"),
        (0, change(1, "json", "number", 0), "train.tar:blue: has the number 0 of red"),
        (0, change(1, "json", "said", 5), "train.tar:blue: 'said' must be text, not a number"),
    ),
}  # fmt: skip


def one_line(tmp_path, data, part):
    """What `mmadapt train` says of the data."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(data, part)))
    result = CliRunner().invoke(app, ["train", str(path), "--output-dir", str(tmp_path / "run")])
    assert result.exit_code == 2, (result.exception, result.stderr)
    (line,) = [text for text in result.stderr.splitlines() if "error:" in text]
    assert "Traceback" not in result.stderr and len(line) < 1300
    return line


def test_every_source_is_here():
    assert set(RECORDS) == set(EVERY)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", EVERY)
def test_a_spoilt_record_is_named(tmp_path, name, variant):
    data = EVERY[name]()
    part = written(data, tmp_path)
    number, spoil, says = RECORDS[name][VARIANTS.index(variant)]
    file = list(data.files)[number]
    content = spoil if isinstance(spoil, str) else copy.deepcopy(data.files[file])
    if isinstance(spoil, str):
        (tmp_path / file).write_text(spoil)
    else:
        spoil(content)
        rewrite(tmp_path, file, content)
    assert says in one_line(tmp_path, data, part)


def spoilt_files():
    """By name, what a whole file may be instead of what it should be."""
    return {
        "empty": lambda content: b"",
        "nothing in it": nothing_of,
        "no text at all": lambda content: bytes(range(256)) * 8,
        "another text": lambda content: b"<html><body>404 Not Found</body></html>\n",
        "cut": lambda content: content[: len(content) * 3 // 5],
        "UTF-16": lambda content: content.decode("latin-1").encode("utf-16"),
        "Latin-1": lambda content: content[:-9] + "é".encode("latin-1") + content[-9:],
        "null": lambda content: b"null",
        "deep": lambda content: b"[" * 100_000,
    }


def nothing_of(content):
    return {b"{": b"{}", b"[": b"[]"}.get(content[:1], content.partition(b"\n")[0] + b"\n")


@pytest.mark.parametrize("kind", spoilt_files())
@pytest.mark.parametrize("name", EVERY)
def test_a_spoilt_file_is_named(tmp_path, name, kind):
    data = EVERY[name]()
    part = written(data, tmp_path)
    for file in data.files:
        if kind == "Latin-1" and file.endswith(".tar"):
            continue  # what lies in a shard is looked at below
        path = tmp_path / file
        whole = path.read_bytes()
        path.write_bytes(spoilt_files()[kind](whole))
        if kind == "nothing in it" and file.endswith(".jsonl"):
            path.write_bytes(b"\n\n")
        assert file in one_line(tmp_path, data, part)
        path.write_bytes(whole)


def test_a_text_of_another_encoding_in_a_shard(tmp_path):
    data = EVERY["webdataset"]()
    part = written(data, tmp_path)
    (file,) = data.files
    content = copy.deepcopy(data.files[file])
    content[1] = {**content[1], "txt": "caf\u00e9".encode("latin-1")}
    rewrite(tmp_path, file, content)
    assert "train.tar:blue: '.txt' is damaged: 'utf-8' codec" in one_line(tmp_path, data, part)


@pytest.mark.parametrize("name", EVERY)
def test_the_last_of_thousands_of_records_is_named(tmp_path, name):
    data = EVERY[name]()
    part = written(data, tmp_path)
    if "check_files" in data.source.Config.model_fields:
        part["check_files"] = False
    contents = copy.deepcopy(data.files)
    says = multiplied(name, *contents.values())
    for file, content in contents.items():
        rewrite(tmp_path, file, content)
    assert says in one_line(tmp_path, data, part)


@pytest.mark.parametrize("name", EVERY)
def test_a_record_that_is_far_too_long_is_named(tmp_path, name):
    data = EVERY[name]()
    part = written(data, tmp_path)
    file, content = next(iter(copy.deepcopy(data.files).items()))
    *path, place = LONG_TEXTS[name]
    spoil = change(*path, "a red box " * (120_000 if name == "jsonl" else 15_000))
    spoil(content)
    rewrite(tmp_path, file, content)
    line = one_line(tmp_path, data, part)
    assert f"{file}:{place}" in line
    assert "tokens; at most 256 fit" in line or "larger than field limit" in line


LONG_TEXTS = {  # by source: where a text stands, and what the record is called
    "coco": ("annotations", 2, "caption", "images[1]"),
    "karpathy": ("images", 1, "sentences", 0, "raw", "images[1]"),
    "vqav2": ("questions", 1, "question", "questions[1]"),
    "gqa": ("02930152", "question", "02930152"),
    "scienceqa": ("1", "question", "1"),
    "llava": (1, "conversations", 0, "value", "[1]"),
    "lavin": ("all", 1, "instruction", "all[1]"),
    "msrvtt": ("sentences", 1, "caption", "videos[0]"),
    "msrvtt_qa": (0, "question", "[0]"),
    "msvd_qa": (0, "question", "[0]"),
    "audiocaps": (2, 3, "3"),
    "clotho": (1, 3, "2"),
    "jsonl": (0, "caption", "1"),
    "hf_jsonl": (1, "said", "row 1"),
    "hf_csv": (2, 1, "3"),
    "webdataset": (1, "json", "said", "blue"),
}


def multiplied(name, first, *others):
    """Adds thousands of good records and one that is spoilt; says what the error must name."""
    last = MANY - 1
    if name == "coco":
        for k in range(MANY):
            first["images"].append({"id": 1000 + k, "file_name": f"{k}.jpg"})
            record = {"id": k, "image_id": 1000 + k, "caption": "a" if k < last else 3}
            first["annotations"].append(record)
        return f"annotations[{last + 3}]: 'caption' must be text"
    if name == "karpathy":
        for k in range(MANY):
            record = {**first["images"][0], "cocoid": 1000 + k}
            first["images"].append(record if k < last else {**record, "sentences": []})
        return f"images[{last + 4}]: 'sentences' is an empty list"
    if name == "vqav2":
        (annotated,) = others
        for k in range(MANY):
            record = {"question_id": k, "image_id": 9, "question": "a?" if k < last else ""}
            first["questions"].append(record)
            annotated["annotations"].append({**annotated["annotations"][0], "question_id": k})
        return f"questions[{last + 2}]: 'question' is empty"
    if name in ("gqa", "scienceqa"):
        model = first["2"] if name == "scienceqa" else next(iter(first.values()))
        many = {f"n{k}": {**model, "question": "a?" if k < last else ""} for k in range(MANY)}
        first |= many
        for splits in others[:1]:
            splits["train"] += list(many)
        return f"n{last}: 'question' is empty"
    if name == "msrvtt":
        for k in range(MANY):
            first["videos"].append({**first["videos"][0], "video_id": f"n{k}", "id": k})
            record = {"video_id": f"n{k}" if k < last else "none", "caption": "a", "sen_id": 9 + k}
            first["sentences"].append(record)
        return f"sentences[{last + 3}]: speaks of none"
    records = first["all"] if name == "lavin" else first
    model, key, wrong, says = {
        "llava": (2, "conversations", [], "[{}]: 'conversations' is an empty list"),
        "lavin": (0, "qid", 1.5, "all[{}]: 'qid' must be text"),
        "msrvtt_qa": (0, "id", None, "[{}]: 'id' must be text"),
        "msvd_qa": (0, "id", None, "[{}]: 'id' must be text"),
        "audiocaps": (1, 0, "97151", ".csv:{}: has the audiocap_id 97151 of 2"),
        "clotho": (1, 0, "Distorted AM Radio noise.wav", ".csv:{}: has the id"),
        "jsonl": (0, "id", "a", ".jsonl:{}: has the id 'a' of line 1"),
        "hf_jsonl": (0, "key", "red", ".jsonl:row {}: has the id 'red' of row 0"),
        "hf_csv": (1, 0, "red", ".csv:row {}: has the id 'red' of row 0"),
        "webdataset": (0, "json", {"said": "a", "number": 0}, ":n{}: has the number 0"),
    }[name]
    count = len(records)
    for k in range(MANY):
        record = copy.copy(records[model])
        if name == "webdataset":
            record[key] = {"said": "a", "number": 10 + k}
        elif name != "llava":
            record[key] = f"n{k}"
        if name == "webdataset":
            record["__key__"] = f"n{k}"
        records.append(record)
    records[-1][key] = wrong
    first_line = {"jsonl": 1, "audiocaps": 1, "clotho": 1, "hf_csv": -1}.get(name, 0)
    return says.format(last if name == "webdataset" else count + last + first_line)


MANY = 3000
