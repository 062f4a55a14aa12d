import json

import pytest

from mmadapt.errors import DataError
from mmadapt_jsonl.source import JsonlConfig, JsonlSource


@pytest.fixture
def folder(tmp_path):
    """A data folder with three media files, and a secret outside of it."""
    root = tmp_path / "data"
    (root / "clips").mkdir(parents=True)
    for name in ("clips/1.mp4", "2.png", "3.wav"):
        (root / name).write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    return root


def source(folder, *records, **options):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return JsonlSource(JsonlConfig(path=str(folder / "data.jsonl"), **options))


def test_records_become_samples(folder):
    read = source(
        folder,
        {"video": "clips/1.mp4", "caption": "a ball", "start": 1, "end": 2.5, "licence": "CC0"},
        "",
        {"id": "b", "image": "2.png", "audio": "3.wav", "captions": ["x", "y"], "prompt": "say:"},
    )
    first, second = read
    assert first["id"] == "1" and second["id"] == "b"
    assert first["media"] == [
        {"type": "video", "path": str(folder / "clips/1.mp4"), "start": 1.0, "end": 2.5}
    ]
    assert (first["target"], first["references"]) == ("a ball", ["a ball"])
    assert first["meta"] == {"licence": "CC0"} and "prompt" not in first
    assert [part["type"] for part in second["media"]] == ["image", "audio"]
    assert (second["target"], second["references"]) == (None, ["x", "y"])
    assert second["prompt"] == "say:"


def test_a_question_has_answers_and_perhaps_choices(folder):
    people = ["a cat", "cat", "cat"]
    ten, weighted, chosen, numbered = source(
        folder,
        {"image": "2.png", "question": "what?", "answers": people},
        {"image": "2.png", "question": "what?", "answers": {"cat": 1, "dog": 0.3}},
        {"image": None, "question": "what?", "answer": "y", "choices": ["x", "y"], "hint": "h"},
        {"image": None, "prompt": "what?", "answer": 1, "choices": ["x", "y"]},
    )
    assert (ten["prompt"], ten["answers"], ten["references"]) == ("what?", people, ["a cat", "cat"])
    assert "target" not in ten
    assert (weighted["answers"], weighted["answer_weights"]) == (["cat", "dog"], [1.0, 0.3])
    assert (chosen["answers"], chosen["choices"], chosen["media"]) == (["y"], ["x", "y"], [])
    assert chosen["meta"] == {"hint": "h"} and numbered["answers"] == ["y"]
    assert len(source(folder, {"image": "2.png", "answers": people}, expand=True)) == 1


def test_a_label_is_an_answer_where_nothing_else_is_said(folder):
    labelled, chosen, beside = source(
        folder,
        {"image": "2.png", "label": "cat"},
        {"image": "2.png", "label": 1, "choices": ["dog", "cat"]},
        {"image": "2.png", "caption": "a cat sits", "label": 3},
    )
    assert labelled["answers"] == chosen["answers"] == ["cat"]
    assert beside["target"] == "a cat sits" and "answers" not in beside
    with pytest.raises(DataError, match="'label' must be text, not a number"):
        source(folder, {"image": "2.png", "label": 1})


def test_where_a_line_is_no_json_is_told_by_its_column(folder):
    with pytest.raises(DataError, match=r"jsonl:2: is not JSON: Expecting .* at column 2$"):
        source(folder, GOOD, "{oops")
    with pytest.raises(DataError, match=r"jsonl:2: has the key 'id' twice in one object$"):
        source(folder, GOOD, '{"id": 1, "id": 2}')
    with pytest.raises(DataError, match=r"jsonl:1: is not JSON: a number in it is too long$"):
        source(folder, '{"id": ' + "1" * 5000 + "}")


def test_a_conversation_names_its_media_inside_or_beside(folder):
    image = {"type": "image", "path": "2.png"}
    clip = {"type": "video", "video": "clips/1.mp4", "start": 1}
    ask = {"role": "user", "content": [image, {"type": "text", "text": "and"}, clip]}
    said = {"role": "assistant", "content": "a cat"}
    bare = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "and"}]}
    inside, beside, none = source(
        folder,
        {"messages": [ask, said]},
        {"image": "2.png", "messages": [bare, said]},
        {"messages": [{"role": "user", "content": "hi"}]},
    )
    assert inside["media"] == [
        {"type": "image", "path": str(folder / "2.png")},
        {"type": "video", "path": str(folder / "clips/1.mp4"), "start": 1.0},
    ]
    assert inside["messages"] == [ask, said] and inside["references"] == ["a cat"]
    assert len(beside["media"]) == 1 and none["media"] == [] and none["references"] == []


def test_several_files_of_one_kind_keep_their_order(folder):
    (sample,) = source(folder, {"image": ["2.png", "2.png"], "caption": "two"})
    assert len(sample["media"]) == 2


def test_expand_decides_how_captions_become_samples(folder):
    record = {"id": "a", "image": "2.png", "captions": ["x", "y"]}
    expanded = list(source(folder, record, expand=True))
    assert [(s["id"], s["target"], s["references"]) for s in expanded] == [
        ("a#0", "x", ["x"]),
        ("a#1", "y", ["y"]),
    ]
    (whole,) = source(folder, record, expand=False)
    assert (whole["target"], whole["references"]) == ("x", ["x", "y"])


def test_split_selects_records(folder):
    records = [{"image": "2.png", "caption": "x", "split": name} for name in ("train", "test")]
    (sample,) = source(folder, *records, split="test")
    assert sample["id"] == "2"
    with pytest.raises(DataError, match="no record of split 'dev'"):
        source(folder, *records, split="dev")


GOOD = {"image": "2.png", "caption": "x"}
MISTAKES = {
    "not json": ("{oops", "is not JSON"),
    "not a record": ("[1]", "is not a record"),
    "too deep": ("[" * 100_000, "is not JSON"),
    "no caption": ({"image": "2.png"}, "needs 'caption', .* or 'label', and has 'image'$"),
    "misspelt": ({"image": "2.png", "captoin": "x"}, "for 'captoin', did you mean 'caption'"),
    "not ended": ('{"image": "2.png"', "is not JSON: Expecting .* at column 18, where it ends$"),
    "two captions": ({**GOOD, "captions": ["y"]}, "both 'caption' and 'captions'"),
    "caption type": ({**GOOD, "caption": 3}, "'caption' must be text, not a number"),
    "captions type": ({"image": "2.png", "captions": "x"}, "'captions' must be a list, not text"),
    "empty captions": ({"image": "2.png", "captions": []}, "empty caption"),
    "blank caption": ({"image": "2.png", "caption": " "}, "empty caption"),
    "no media": ({"caption": "x"}, "names no media"),
    "media type": ({"image": 3, "caption": "x"}, "'image' must be text, not a number"),
    "two questions": ({**GOOD, "question": "a", "prompt": "b"}, "'prompt' and 'question'"),
    "caption and answer": ({**GOOD, "answer": "y"}, "both 'caption' and 'answer'"),
    "empty answers": ({"image": "2.png", "answers": []}, "has an empty answer"),
    "answer type": ({"image": "2.png", "answer": 1}, "'answer' must be text, not a number"),
    "weights": ({"image": "2.png", "answers": {"x": 0}}, "every answer a number above 0"),
    "one choice": ({"image": "2.png", "answer": "x", "choices": ["x"]}, "at least two 'choices'"),
    "same choices": (
        {"image": "2.png", "answer": "x", "choices": ["x", "x"]},
        "at least two 'choices', all different",
    ),
    "choice": (
        {"image": "2.png", "answer": "z", "choices": ["x", "y"]},
        "has the answer 'z', which is not among its choices",
    ),
    "choice number": (
        {"image": "2.png", "answer": 2, "choices": ["x", "y"]},
        "'answer' is 2, but there are 2 choices",
    ),
    "no messages": ({"messages": []}, "must be a list of messages"),
    "message": ({"messages": [{"role": "user"}]}, "objects with 'role' and 'content'"),
    "role": ({"messages": [{"role": "human", "content": "x"}]}, "role 'human'; known: system"),
    "content": ({"messages": [{"role": "user", "content": 1}]}, "'content' must be text or a list"),
    "part": ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "whose 'type' is one"),
    "part without file": (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        "has 1 media parts in its messages, but 0 files",
    ),
    "media in two places": (
        {
            "image": "2.png",
            "messages": [{"role": "user", "content": [{"type": "image", "path": "2.png"}]}],
        },
        "either in every part of its messages or all beside them",
    ),
    "question beside messages": (
        {"question": "x", "messages": [{"role": "user", "content": "x"}]},
        "ask it in the last message",
    ),
    "no files": ({"image": [], "caption": "x"}, "'image' is an empty list"),
    "empty path": ({"image": "", "caption": "x"}, "'image' is not a path"),
    "null byte": ({"image": "a\0b", "caption": "x"}, "'image' is not a path"),
    "missing file": ({"image": "no.png", "caption": "x"}, "does not exist: .*no.png"),
    "folder": ({"image": "clips", "caption": "x"}, "does not exist"),
    "id type": ({**GOOD, "id": True}, "'id' must be text or a whole number"),
    "prompt type": ({**GOOD, "prompt": 1}, "'prompt' must be text"),
    "negative start": ({"audio": "3.wav", "caption": "x", "start": -1}, "'start' must be a number"),
    "endless": ('{"audio": "3.wav", "caption": "x", "end": Infinity}', "'end' must be a number"),
    "backwards": (
        {"video": "clips/1.mp4", "caption": "x", "start": 2, "end": 1},
        "'end' that is not after",
    ),
    "parent": ({"image": "../secret.png", "caption": "x"}, "leads outside"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_file_line_and_reason(folder, name):
    record, reason = MISTAKES[name]
    with pytest.raises(DataError, match=reason) as caught:
        source(folder, GOOD, record)
    assert str(caught.value).startswith(f"{folder / 'data.jsonl'}:2: ")


def test_ids_must_differ_and_name_both_lines(folder):
    with pytest.raises(DataError, match=r":3: has the id 'a' of line 1"):
        source(folder, {**GOOD, "id": "a"}, GOOD, {**GOOD, "id": "a"})


def test_absolute_paths_and_links_may_not_leave_the_root(folder):
    outside = folder.parent / "secret.png"
    (folder / "link.png").symlink_to(outside)
    for path in (str(outside), "link.png"):
        record = {"image": path, "caption": "x"}
        with pytest.raises(DataError, match="leads outside"):
            source(folder, record)
        assert len(source(folder, record, allow_outside=True)) == 1
    assert len(source(folder, {"image": str(folder / "2.png"), "caption": "x"})) == 1


def test_root_is_where_media_paths_begin(folder):
    record = {"video": "1.mp4", "caption": "x"}
    (sample,) = source(folder, record, root=str(folder / "clips"))
    assert sample["media"][0]["path"] == str(folder / "clips/1.mp4")
    with pytest.raises(DataError, match="`root` must name"):
        source(folder, record, root=str(folder / "none"))


def test_files_that_are_no_data_are_refused(folder):
    with pytest.raises(DataError, match="has no records"):
        source(folder, "")
    with pytest.raises(DataError, match="does not exist"):
        JsonlSource(JsonlConfig(path=str(folder / "none.jsonl")))
    with pytest.raises(DataError, match="is a folder"):
        JsonlSource(JsonlConfig(path=str(folder)))
    (folder / "latin.jsonl").write_bytes(b'{"caption": "\xe9"}')
    with pytest.raises(DataError, match=r"latin\.jsonl:1: is not UTF-8 text"):
        JsonlSource(JsonlConfig(path=str(folder / "latin.jsonl")))


@pytest.mark.parametrize(
    "address", ["https://a.org/1.png", "data:image/png;base64,aGk=", "S3://x/y"]
)
def test_addresses_are_not_fetched(folder, address):
    with pytest.raises(
        DataError, match=r"data\.jsonl:1: 'image' is an address .*nothing is fetched"
    ):
        source(folder, {"image": address, "caption": "x"}, allow_outside=True)
    with pytest.raises(DataError, match=r"is an address; nothing is fetched") as found:
        JsonlSource(JsonlConfig(path=address))
    assert str(found.value).startswith(address)


def test_half_a_character_is_refused(folder):
    for record in ('{"image": null, "caption": "\\ud83d"}', '{"image": "\\uD83D", "caption": "x"}'):
        with pytest.raises(DataError, match=r"data\.jsonl:1: holds half a character"):
            source(folder, record)
    (sample,) = source(folder, '{"image": null, "caption": "\\ud83d\\ude00 \\\\ud83d"}')
    assert sample["target"] == "😀 \\ud83d"


def test_an_endless_line_is_refused(folder, monkeypatch):
    monkeypatch.setattr("mmadapt_jsonl.source.MAX_LINE", 100)
    with pytest.raises(DataError, match=r"data\.jsonl:2: has over 100 bytes"):
        source(folder, {"image": "2.png", "caption": "x"}, {"image": "2.png", "caption": "x" * 100})
