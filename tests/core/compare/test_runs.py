import json

import pytest

from mmadapt.compare import compare_runs
from mmadapt.compare.runs import read_run
from mmadapt.errors import DataError, MMAdaptError
from mmadapt.evaluate.scoring import metric_factories, scored


def run(folder, scores, name="a", metric="exact_match"):
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"name": name}))
    lines = [json.dumps({"id": key, "scores": {metric: value}}) for key, value in scores.items()]
    (folder / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def scores(*values):
    return {f"s{number}": value for number, value in enumerate(values)}


def test_runs_are_compared_on_what_both_scored(tmp_path):
    one = run(tmp_path / "1", scores(*[0.0] * 20, 1.0), "one")
    two = run(tmp_path / "2", scores(*[1.0] * 20), "two")
    found = compare_runs([one, two])
    assert (found.samples, found.left_out) == (20, 1)
    gap = found.differences["exact_match"]["one", "two"]
    assert gap.mean == 1.0 and gap.is_more_than_noise
    assert found.intervals["exact_match"]["one"].mean == 0.0
    text = str(found)
    assert "two - one: +1.000  [+1.000, +1.000]  more than noise" in text
    assert json.loads(json.dumps(found.to_dict()))["differences"][0]["is_more_than_noise"] is True


def test_equal_runs_do_not_differ(tmp_path):
    folders = [run(tmp_path / str(k), scores(0.0, 1.0, 1.0)) for k in range(2)]
    found = compare_runs(folders)
    pair = (str(folders[0]), str(folders[1]))  # two runs of one recipe are told apart by folder
    assert not found.differences["exact_match"][pair].is_more_than_noise
    assert "not more than noise" in str(found) and f"{pair[1]} - {pair[0]}: +0.000" in str(found)
    twice = compare_runs([folders[0], folders[0]])
    assert list(twice.intervals["exact_match"]) == [f"{pair[0]} (1)", f"{pair[0]} (2)"]


def test_what_cannot_be_compared(tmp_path):
    one = run(tmp_path / "1", scores(1.0))
    with pytest.raises(MMAdaptError, match="two runs or more"):
        compare_runs([one])
    with pytest.raises(MMAdaptError, match="holds no finished run"):
        compare_runs([one, tmp_path / "nowhere"])
    with pytest.raises(MMAdaptError, match=r"no metric in common: a has exact_match; b has cider"):
        compare_runs([one, run(tmp_path / "2", scores(1.0), "b", "cider")])
    three = run(tmp_path / "4", scores(1.0), "d")
    line = {"id": "s0", "scores": {"exact_match": 1.0}, "references": ["a dog"]}
    (three / "predictions.jsonl").write_text(json.dumps(line))
    with pytest.raises(MMAdaptError, match="a and d scored other samples: the references of 's0'"):
        compare_runs([one, three])
    with pytest.raises(MMAdaptError, match="no sample in common"):
        compare_runs([one, run(tmp_path / "3", {"other": 1.0}, "c")])
    (one / "predictions.jsonl").write_text('{"id": "s0"}\n')
    with pytest.raises(DataError, match=r"predictions.jsonl:1: is no prediction"):
        compare_runs([one, one])
    (one / "predictions.jsonl").unlink()
    with pytest.raises(MMAdaptError, match="has no predictions"):
        compare_runs([one, one])


def test_scores_computed_in_two_ways_are_not_compared(tmp_path):
    folders = [run(tmp_path / name, scores(0.0, 1.0), name) for name in "ab"]
    for folder, tokenizer in zip(folders, ("builtin", "ptb"), strict=True):
        used = {"exact_match": {"version": "1", "tokenizer": tokenizer, "samples": 2}}
        report = {"name": folder.name, "settings": {"metrics": used}}
        (folder / "metrics.json").write_text(json.dumps(report))
    with pytest.raises(MMAdaptError, match=r"a and b computed exact_match .*: tokenizer differ"):
        compare_runs(folders)


def test_what_was_found_in_the_answers_may_differ(tmp_path):
    for name, answers in [("one", ["red", "red"]), ("other", ["red", "tree"])]:
        samples = [{"id": f"s{n}", "references": ["red"]} for n in range(2)]
        _, predictions, settings = scored(metric_factories(["macro_f1"]), samples, answers)
        folder = tmp_path / name
        folder.mkdir()
        lines = "".join(json.dumps(prediction) + "\n" for prediction in predictions)
        (folder / "predictions.jsonl").write_text(lines)
        report = {"name": name, "settings": {"metrics": settings}}
        (folder / "metrics.json").write_text(json.dumps(report))
    assert settings["macro_f1"]["classes"] == 2
    assert compare_runs([tmp_path / "one", tmp_path / "other"]).samples == 2


def test_an_id_that_comes_twice_is_named(tmp_path):
    run(tmp_path / "a", {"s1": 1.0})
    file = tmp_path / "a" / "predictions.jsonl"
    file.write_text(file.read_text() * 2)
    with pytest.raises(DataError, match=r"predictions.jsonl:2: has the id 's1' of an earlier line"):
        read_run(tmp_path / "a")


def test_an_answer_may_hold_any_character(tmp_path):
    one = run(tmp_path / "1", scores(1.0, 0.0), "one")
    line = {"id": "s0", "answer": "a\u2028b", "scores": {"exact_match": 1.0}}
    (one / "predictions.jsonl").write_text(json.dumps(line, ensure_ascii=False) + "\n")
    assert compare_runs([one, one]).samples == 1
