import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import mmadapt
from mmadapt.cli.app import app
from mmadapt.data.media.files import ADVICE
from mmadapt.errors import AdapterError, MediaError
from tests.tiny import tiny_tokenizer


class Model:
    """Answers with the names of the files; a file called bad cannot be read."""

    lm = torch.nn.Identity()

    def __init__(self):
        self.calls = []

    def place(self, device):
        self.placed = device
        return self

    def generate(self, **inputs):
        self.calls.append(inputs)
        media = [key for key in ("video", "image", "audio") if key in inputs]
        for path in (path for key in media for path in inputs[key]):
            if "bad" in path:
                raise MediaError(path, "the file is empty")
        count = len(next(value for value in inputs.values() if isinstance(value, list)))
        prompts = inputs.get("prompt", [""] * count)
        return [
            "+".join(Path(inputs[key][i]).stem for key in media) + prompts[i] for i in range(count)
        ]


@pytest.fixture
def model(monkeypatch, tmp_path):
    model, model.loads = Model(), []

    def load(folder, **options):
        model.loads.append((folder, options))
        return model

    monkeypatch.setattr(mmadapt, "load", load, raising=False)
    monkeypatch.chdir(tmp_path)
    return model


def generate(*arguments):
    return CliRunner().invoke(app, ["generate", "runs/a", *arguments])


def test_one_file_gives_the_answer_alone(model):
    result = generate("--video", "clip.mp4", "--max-new-tokens", "5", "num_beams=3")
    assert (result.exit_code, result.stdout) == (0, "clip\n")
    assert model.calls == [{"video": ["clip.mp4"], "max_new_tokens": 5, "num_beams": 3}]
    assert model.loads == [("runs/a", {"revision": None, "overrides": [], "allow_code": False})]
    assert model.placed is None


@pytest.mark.parametrize(
    ("option", "file", "advice"),
    [
        ("--image", "c0.mp4", "By its name it is a video file; give it as --video."),
        ("--video", "c0.png", "By its name it is an image file; give it as --image."),
        ("--image", "c0.png", "Give another file."),
    ],
)
def test_a_file_that_cannot_be_read_has_advice_for_one_question(model, option, file, advice):
    def unreadable(**inputs):
        kind = option.removeprefix("--")
        raise MediaError(inputs[kind][0], "no picture in it", kind, ADVICE)

    model.generate = unreadable
    result = generate(option, file)
    assert result.exit_code == 2
    assert result.stderr.strip().endswith(f"no picture in it. {advice}")
    assert "out of the data" not in result.stderr


def test_several_files_are_named(model):
    result = generate("--image", "a.png", "--image", "b.png", "--prompt", "?")
    assert result.stdout == "a.png\ta?\nb.png\tb?\n"
    assert len(model.calls) == 1


def test_two_modalities_are_one_sample(model):
    assert generate("--video", "v.mp4", "--audio", "s.wav").stdout == "v+s\n"
    result = generate("--video", "v.mp4", "--audio", "s.wav", "--audio", "t.wav")
    assert result.exit_code == 2
    assert "1 --video, 2 --audio: give as many of each, or one kind" in result.stderr


def test_overrides_of_the_recipe_and_the_device_reach_the_model(model):
    generate("--image", "a.png", "lm.model=other", "--device", "cpu")
    given = {"revision": None, "overrides": ["lm.model=other"], "allow_code": False}
    assert model.loads == [("runs/a", given)]
    assert model.placed == "cpu"
    result = generate("--image", "a.png", "--device", "gpu please")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to answer about"),
        (["--image", "a.png", "num_beam=3"], "did you mean 'num_beams'?"),
        (["--image", "a.png", "num_beams=x"], "num_beams: wrong type ('x'); expected a whole"),
        (["--image", "a.png", "more"], "expected key=value"),
        (["--image", "a.png", "--input", "r.jsonl"], "give --input or --image, not both"),
        (["--image", "a.png", "--output", "no/out.jsonl"], "the folder no does not exist"),
        (["--image", "a.png", "--output", "."], "is a folder"),
        (["--input", "in.jsonl", "--output", "./in.jsonl"], "is the input as well"),
        (["--input", "none.jsonl"], "error: none.jsonl: No such file or directory"),
    ],
)
def test_mistakes_are_told_before_the_model_is_loaded(model, arguments, message):
    result = generate(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert model.loads == []


def test_an_adapter_that_cannot_be_loaded(model, monkeypatch):
    def load(folder, **_):
        raise AdapterError(f"{folder} is no adapter folder")

    monkeypatch.setattr(mmadapt, "load", load)
    result = generate("--image", "a.png")
    assert (result.exit_code, result.stderr) == (2, "error: runs/a is no adapter folder\n")


def test_what_was_written_is_said_unless_a_script_reads_it(model, tmp_path):
    files = ["--image", "a.png", "--image", "bad.png", "--output", "out.jsonl"]
    result = generate(*files)
    assert (result.exit_code, result.stdout) == (2, "wrote 1 answer to out.jsonl\n")
    assert generate(*files, "--json").stdout == ""


def test_records_are_answered_in_batches_of_one_shape_in_order(model, tmp_path):
    records = [
        {"image": "a.png", "id": "first"},
        {"image": "b.png"},
        {"image": "c.png"},
        {"video": "d.mp4", "prompt": "?"},
        {"image": "e.png", "prompt": None},
    ]
    text = "\n".join(map(json.dumps, records)) + "\n\n"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "in.jsonl").write_text(text)
    result = generate("--input", "sub/in.jsonl", "--output", "out.jsonl", "--batch-size", "2")
    assert (result.exit_code, result.output) == (0, "wrote 5 answers to out.jsonl\n")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == [
        {"id": "first", "answer": "a"},
        {"id": 2, "answer": "b"},
        {"id": 3, "answer": "c"},
        {"id": 4, "answer": "d?"},
        {"id": 5, "answer": "e"},
    ]
    shapes = [{key: len(value) for key, value in call.items()} for call in model.calls]
    assert shapes == [{"image": 2}, {"image": 1}, {"video": 1, "prompt": 1}, {"image": 1}]
    assert model.calls[0]["image"] == [str(Path("sub/a.png")), str(Path("sub/b.png"))]


def test_an_address_in_a_record_reaches_the_reader_as_it_is(model, tmp_path):
    """Which refuses it, and can say why only of the address itself."""
    (tmp_path / "in.jsonl").write_text('{"image": "https://example.org/a.png"}\n')
    generate("--input", "in.jsonl")
    assert model.calls.pop()["image"] == ["https://example.org/a.png"]


def test_choices_are_for_all_or_the_records_own(model, tmp_path):
    generate("--image", "a.png", "--choice", "x", "--choice", "y")
    assert model.calls.pop() == {"image": ["a.png"], "choices": [["x", "y"]]}
    records = [{"image": "a.png", "question": "what?"}, {"image": "b.png", "choices": ["z", "w"]}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, records)))
    generate("--input", "in.jsonl", "--choice", "x", "--choice", "y", "--prompt", "?")
    (call,) = model.calls
    assert call["choices"] == [["x", "y"], ["z", "w"]] and call["prompt"] == ["what?", "?"]


def test_a_line_separator_of_unicode_ends_no_record(model, tmp_path):
    record = json.dumps({"image": "a.png", "question": "one\u2028two"}, ensure_ascii=False)
    (tmp_path / "in.jsonl").write_text(record + "\n", encoding="utf-8")
    assert generate("--input", "in.jsonl").exit_code == 0
    assert model.calls.pop()["prompt"] == ["one\u2028two"]


def test_a_bad_file_fails_alone_and_is_named(model, tmp_path):
    records = [{"image": "a.png"}, {"image": "bad.png"}, {"image": "c.png"}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, records)))
    result = generate("--input", "in.jsonl", "--json")
    assert result.exit_code == 2
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert (first["answer"], third["answer"]) == ("a", "c")
    assert "bad.png" in second["error"]
    assert "1 of 3 records have no answer" in result.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "in.jsonl:2: is not JSON"),
        ("[1]", "in.jsonl:2: not a JSON object"),
        ('{"image": 5}', "in.jsonl:2: image is not text"),
        ('{"image": "b.png", "question": 5}', "in.jsonl:2: question is not text"),
        ('{"image": "b.png", "messages": ["x"]}', "in.jsonl:2: messages is not a list of"),
        ('{"image": "b.png", "choices": "x"}', "in.jsonl:2: choices is not a list of texts"),
        ('{"image": "b.png", "choices": []}', "in.jsonl:2: choices is not a list of texts"),
        ('{"id": 5}', "in.jsonl:2: has neither video, image or audio nor a prompt"),
        ("[" * 100_000, "in.jsonl:2: is not JSON"),
    ],
)
def test_a_record_that_is_none_names_its_line(model, tmp_path, line, message):
    (tmp_path / "in.jsonl").write_text('{"image": "a.png"}\n' + line + "\n")
    result = generate("--input", "in.jsonl")
    assert result.exit_code == 2
    assert message in result.stderr
    assert model.loads == []


def test_an_empty_file_has_no_records(model, tmp_path):
    (tmp_path / "in.jsonl").write_text("\n")
    assert "holds no records" in generate("--input", "in.jsonl").stderr


def test_stream_prints_each_answer_as_it_grows(model, monkeypatch):
    tokenizer = tiny_tokenizer(["red", "green"])
    whole = model.generate

    def streaming(**inputs):
        streamer, path = inputs.pop("streamer"), inputs["image"][0]
        answers = whole(**inputs)
        for ids in ([[9, 9]], [4], [5], [2]):  # the prompt, then tokens, the last one special
            streamer.put(torch.tensor(ids))
        streamer.end()
        return answers if path else []

    monkeypatch.setattr(model, "generate", streaming)
    monkeypatch.setattr(model, "require_tokenizer", lambda: tokenizer, raising=False)
    result = generate("--image", "a.png", "--stream")
    assert (result.exit_code, result.stdout) == (0, "red green\n")
    result = generate("--image", "a.png", "--image", "bad.png", "--image", "c.png", "--stream")
    assert result.exit_code == 2 and "the file is empty" in result.stderr
    assert result.stdout.startswith("a.png\tred green\n")
    assert result.stdout.endswith("c.png\tred green\n")
    assert all(len(call["image"]) == 1 for call in model.calls)


@pytest.mark.parametrize("option", ["--json", "--output=a.jsonl"])
def test_stream_goes_to_the_terminal_alone(model, option):
    result = generate("--image", "a.png", "--stream", option)
    assert result.exit_code == 2 and "leave --output and --json out" in result.stderr
    assert model.loads == []
