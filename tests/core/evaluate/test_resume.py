"""Evaluations that were cut off, on other recipes, and shared among processes."""

import json
import os
import signal
import time
from importlib.metadata import version

import pytest
import torch

from mmadapt.composition import compose, load
from mmadapt.data.items import Failed
from mmadapt.errors import AdapterError, DataError, MMAdaptError, ModelError, RecipeError
from mmadapt.evaluate import evaluate_adapter
from mmadapt.evaluate.answering import Answering
from mmadapt.evaluate.journal import Journal, digest
from mmadapt.recipe import load_recipe
from tests import world
from tests.forked import Forked, ranks


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    lm = world.save_lm(tmp_path_factory.mktemp("lm"))
    torch.manual_seed(1)
    evaluation = {"batch_size": 4, "blind": ["removed"]}
    model = compose(world.recipe(lm, evaluate=evaluation), allow_code=True)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def run(adapter, *overrides, **options):
    return evaluate_adapter(adapter, overrides, allow_code=True, quiet=True, **options)


@pytest.fixture
def answered(monkeypatch):
    """The places that are computed, batch by batch; `stop` makes the batch of that number fail."""
    found = type("Answered", (), {"rows": [], "stop": None})()
    answers = Answering._answers

    def counting(self, places, batch):
        if found.stop is not None and len(found.rows) >= found.stop:
            raise KeyboardInterrupt
        found.rows.append([self.dataset.source[place]["id"] for place in places])
        return answers(self, places, batch)

    monkeypatch.setattr(Answering, "_answers", counting)
    return found


def plain(result):
    return {key: value for key, value in result.items() if key not in ("seconds",)}


@pytest.mark.parametrize("stop", [0, 2, 5])
def test_an_evaluation_goes_on_where_it_was_cut_off(adapter, tmp_path, answered, stop):
    """16 samples by 4: batches 0 to 3 have media, batches 4 to 7 have none."""
    whole = run(adapter, output_dir=tmp_path / "whole")
    assert len(answered.rows) == 8 and not list((tmp_path / "whole").glob("answers-*"))
    answered.rows, answered.stop = [], stop
    with pytest.raises(KeyboardInterrupt):
        run(adapter, output_dir=tmp_path / "cut")
    assert not (tmp_path / "cut" / "metrics.json").exists()
    before, answered.rows, answered.stop = answered.rows, [], None
    result = run(adapter, "data.max_bad_share=0.5", output_dir=tmp_path / "cut", resume=True)
    assert plain(result) == plain(whole)
    assert (
        before + answered.rows == [[f"s{100 + n + i}" for i in range(4)] for n in (0, 4, 8, 12)] * 2
    )
    texts = [(tmp_path / name / "predictions.jsonl").read_bytes() for name in ("whole", "cut")]
    assert texts[0] == texts[1]
    assert (
        json.loads((tmp_path / "cut" / "metrics.json").read_text())["metrics"] == whole["metrics"]
    )


def test_a_finished_evaluation_is_returned_and_never_overwritten(adapter, tmp_path, answered):
    first = run(adapter, output_dir=tmp_path / "out")
    answered.rows.clear()
    again = run(adapter, "evaluate.batch_size=3", output_dir=tmp_path / "out", resume=True)
    assert again == json.loads(json.dumps(first)) and answered.rows == []
    with pytest.raises(MMAdaptError, match="holds an evaluation already; continue it with --res"):
        run(adapter, output_dir=tmp_path / "out")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("")
    with pytest.raises(MMAdaptError, match="holds a run; choose another --output-dir"):
        run(adapter, output_dir=tmp_path / "run", resume=True)


def test_one_that_gave_no_answer_claims_no_folder(adapter, tmp_path, monkeypatch):
    def missing(*_, **__):
        raise ModelError("the base model is gone")

    with monkeypatch.context() as patch:
        patch.setattr("mmadapt.evaluate.adapter.load", missing)
        with pytest.raises(ModelError):
            run(adapter, output_dir=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]
    own = tmp_path / "own" / "evaluation.json"
    own.parent.mkdir()
    own.write_text('{"grade": 1}')
    with pytest.raises(MMAdaptError, match="holds an evaluation already"):
        run(adapter, output_dir=own.parent)
    assert own.exists()
    result = run(adapter, "data.test.count=8", "evaluate.num_examples=3", output_dir=tmp_path)
    assert len(result["predictions"]) == 8 and result["num_examples"] == 3


def test_two_never_share_a_folder(adapter, tmp_path, monkeypatch):
    begun = load

    def second(*args, **options):
        with pytest.raises(MMAdaptError, match=r"in use by process .* wait for it, or choose"):
            run(adapter, output_dir=tmp_path, resume=True)
        return begun(*args, **options)

    monkeypatch.setattr("mmadapt.evaluate.adapter.load", second)
    run(adapter, output_dir=tmp_path)
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("evaluate.generate.max_new_tokens=3", "evaluate.generate.max_new_tokens"),
        ("data.test.count=8", "data.test.count"),
        ("train.seed=9", "seed"),
        ("evaluate.blind=[]", "evaluate.blind"),
    ],
)
def test_answers_of_something_else_are_never_mixed_in(adapter, tmp_path, answered, override, named):
    answered.stop = 2
    with pytest.raises(KeyboardInterrupt):
        run(adapter, output_dir=tmp_path)
    answered.stop = None
    with pytest.raises(MMAdaptError, match=f"holds another evaluation: {named} differ"):
        run(adapter, override, output_dir=tmp_path, resume=True)
    file = tmp_path / "answers-00000.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps({"key": "other"}), *lines[1:]]) + "\n")
    with pytest.raises(MMAdaptError, match="holds answers of another evaluation"):
        run(adapter, output_dir=tmp_path, resume=True)


def sample(number, **changes):
    return {"id": f"s{number}", "prompt": "say", "references": ["red"], **changes}


def test_half_a_line_is_cut_off_and_damage_is_named(tmp_path):
    samples = [sample(0), sample(1, prompt="line\u2028break")]
    journal = Journal(tmp_path, "k")
    cut = Failed(1, "s1", DataError("sample", "s1", "its prompt was cut"), "truncated")
    journal.row("as_is", samples).add({0: "one\u2028two", 1: "b"}, [cut])
    with journal.file.open("a") as stream:
        stream.write('{"media": "as_is", "num')
    again = Journal(tmp_path, "k")
    answers, failed = again.row("as_is", samples).known()
    assert answers == {0: "one\u2028two", 1: "b"} and again.row("removed", samples).known() == (
        {},
        [],
    )
    assert [(one.index, one.kind) for one in failed] == [(1, "truncated")]
    again.row("removed", samples).add({0: "c"}, [])
    assert Journal(tmp_path, "k").row("removed", samples).known() == ({0: "c"}, [])
    with pytest.raises(MMAdaptError, match="'s0' has changed since it was answered"):
        again.row("as_is", [sample(0, prompt="what"), samples[1]]).known()
    journal.file.write_text('{"key": "k"}\nnothing\n')
    with pytest.raises(MMAdaptError, match="is damaged; remove it to answer its samples again"):
        Journal(tmp_path, "k")


def test_a_changed_file_changes_the_digest(tmp_path):
    path = tmp_path / "a.png"
    seen = []
    for content in (b"one", b"three"):
        path.write_bytes(content)
        seen.append(digest(sample(0, media=[{"type": "image", "path": str(path)}])))
    seen += [digest(sample(0, media=[{"type": "image", "value": b}])) for b in (b"1", b"2")]
    assert len(set(seen)) == 4


OTHER = """
head: {use: "tests.world:PlainHead"}
data:
  test: {use: "tests.world:ColourSource", start: 200, count: 6}
evaluate: {metrics: ["tests.world:Exact"], generate: {max_new_tokens: 1}}
"""


def test_another_recipe_says_on_what_and_how(adapter, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(OTHER)
    result = run(adapter, "data.test.count=5", recipe=other)
    assert [p["id"] for p in result["predictions"]] == [f"s{200 + i}" for i in range(5)]
    settings = result["settings"]
    assert settings["generate"] == {"max_new_tokens": 1} and "blind" not in result
    assert settings["recipe"] == str(other) and settings["adapter"]["path"] == str(adapter)
    assert settings["versions"]["torch"] == version("torch") and settings["seed"] == 3
    other.write_text("lm: {model: x}\n")
    with pytest.raises(RecipeError, match="has none of data, evaluate, head"):
        run(adapter, recipe=other)
    other.write_text(OTHER.replace("data:", "date:"))
    with pytest.raises(
        RecipeError, match=r"other.yaml:3:1: date: unknown key; did you mean 'data'"
    ):
        run(adapter, recipe=other)
    other.write_text(OTHER.replace("count: 6", "count: six"))
    with pytest.raises(RecipeError, match=r"other.yaml:4:.*count"):
        run(adapter, recipe=other)
    with pytest.raises(AdapterError, match="is no adapter folder"):
        run(tmp_path)


def test_a_run_that_never_finished_is_named_as_such(tmp_path, adapter):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text((adapter / "recipe.yaml").read_text())
    with pytest.raises(AdapterError, match=r"holds a run that has not finished; .*mmadapt train"):
        run(tmp_path / "run")


def command(adapter, out, *more):
    return ["mmadapt.cli", "evaluate", str(adapter), "--allow-code", "-o", str(out), *more]


def scores(folder):
    report = json.loads((folder / "metrics.json").read_text())
    kept = {key: report[key] for key in ("metrics", "blind", "failed", "data")}
    del report["settings"]["adapter"]
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return kept, report["settings"], [json.loads(line) for line in lines]


def test_two_processes_answer_every_sample_once(adapter, tmp_path):
    """Over gloo, 15 samples of which two cannot be read: as one process."""
    changes = ["data.test.count=15", "data.test.bad=[3, 8]", "data.max_bad_share=0.5"]
    processes = ranks(2, *command(adapter, tmp_path / "two", *changes))
    out, told = map("".join, zip(*(one.communicate(240) for one in processes), strict=True))
    assert [one.returncode for one in processes] == [0, 0], told[-3000:]
    run(adapter, *changes, output_dir=tmp_path / "one")
    assert scores(tmp_path / "two") == scores(tmp_path / "one")
    assert out.count("with media") == 1 and "2 samples were left out of the scores" in told
    assert len(scores(tmp_path / "two")[2]) == 13


def test_a_killed_evaluation_continues(adapter, tmp_path):
    changes = ["data.test.count=32", "evaluate.batch_size=1"]
    process = Forked(*command(adapter, tmp_path / "cut", *changes))
    file = tmp_path / "cut" / "answers-00000.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") > 5:
            break
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "cut" / "metrics.json").exists() and file.exists()
    run(adapter, *changes, output_dir=tmp_path / "cut", resume=True)
    run(adapter, *changes, output_dir=tmp_path / "whole")
    assert scores(tmp_path / "cut") == scores(tmp_path / "whole")
    assert load_recipe(adapter / "recipe.yaml").name == "colours"


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_sample_is_one_process_s(adapter, monkeypatch, size):
    """Each process alone, with nobody to gather from: their shares are disjoint and whole."""
    monkeypatch.setattr("mmadapt.ranks.world_size", lambda: size)
    monkeypatch.setattr("mmadapt.ranks.agree", lambda *_: None)
    monkeypatch.setattr("mmadapt.ranks.gather", lambda value: [value])
    monkeypatch.setattr("mmadapt.ranks.join", lambda: None)
    shares = []
    for number in range(size):
        monkeypatch.setattr("mmadapt.ranks.rank", lambda number=number: number)
        shares.append([p["id"] for p in run(adapter, "evaluate.blind=[]")["predictions"]])
    assert sorted(one for share in shares for one in share) == [f"s{100 + n}" for n in range(16)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
