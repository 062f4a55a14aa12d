"""`data.train` as a list of sources."""

import pytest

from mmadapt.errors import RecipeError
from mmadapt.recipe import load_and_resolve, load_recipe, resolve
from tests.core.recipe.samples import RECIPE, make_registry

ONE = "train: {use: files, path: train.jsonl}"


def written(tmp_path, *parts):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace(ONE, "\n    - ".join(["train:", *parts]), 1))
    return path


def problems(path):
    with pytest.raises(RecipeError) as error:
        load_and_resolve(path, (), make_registry())
    return [str(problem).removeprefix(str(path)) for problem in error.value.problems]


def test_several_sources_become_the_parts_of_one(tmp_path):
    path = written(tmp_path, "{use: files, path: a, weight: 3}", "{use: files, path: b, weight: 1}")
    resolved = resolve(load_recipe(path), make_registry())
    source = resolved.sources["train"]
    assert list(resolved.sources) == ["train"] and source.name == "train"
    assert [part.config.path for part in source.parts] == ["a", "b"]
    assert source.weights == (3, 1)


def test_without_weights_there_are_none(tmp_path):
    path = written(tmp_path, "{use: files, path: a}", "{use: files, path: b}")
    source = resolve(load_recipe(path), make_registry()).sources["train"]
    assert source.weights is None and len(source.parts) == 2
    single = resolve(load_recipe(written(tmp_path, "{use: files, path: a}")), make_registry())
    assert len(single.sources["train"].parts) == 1


def test_a_dumped_list_reads_back_equal(tmp_path):
    path = written(tmp_path, "{use: files, path: a, weight: 0.5}", "{use: files, path: b}")
    recipe = load_recipe(path)
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("{use: files, path: b, weight: 0}", ":10:37: data.train.1.weight: out of range (0); expe"),
        ("{use: files, path: b, weight: much}", ":10:37: data.train.1.weight: wrong type ('much')"),
        ("{use: files, path: b}", ":10:7: data.train.1: has no weight; others have; give every"),
        ("{use: filse, path: b, weight: 1}", ":10:13: data.train.1.use: unknown source 'filse'"),
        ("{use: files, pth: b, weight: 1}", ":10:20: data.train.1.pth: unknown option of source"),
        ("{path: b, weight: 1}", ":10:7: data.train.1.use: missing"),
        ("files", ":10:7: data.train.1: wrong type ('files')"),
    ],
)
def test_mistakes_point_at_the_part(tmp_path, part, expected):
    lines = problems(written(tmp_path, "{use: files, path: a, weight: 1}", part))
    assert [line for line in lines if line.startswith(expected)], lines


def test_only_training_data_are_mixed(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace(ONE, "test: [{use: files, path: a}]", 1))
    assert "data.test: wrong type" in problems(path)[0]


def test_an_empty_list_is_told(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace(ONE, "train: []", 1))
    assert "data.train: " in problems(path)[0] and "at least 1" in problems(path)[0]
