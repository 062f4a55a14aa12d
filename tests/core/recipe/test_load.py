import os

import pytest

from mmadapt.errors import RecipeError
from mmadapt.recipe import load_recipe
from tests.core.recipe.samples import RECIPE


@pytest.fixture
def write(tmp_path):
    def write(text, name="r.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def problems(source, overrides=()):
    with pytest.raises(RecipeError) as error:
        load_recipe(source, overrides)
    return [str(problem) for problem in error.value.problems]


def test_a_recipe_is_read(write):
    recipe = load_recipe(write(RECIPE))
    assert recipe.name == "clip-caption"
    assert recipe.lm.dtype == "auto"
    assert recipe.encoders["video"].options == {"model": "org/vit", "num_frames": 8}
    assert recipe.train.arguments == {"max_steps": 800, "learning_rate": 0.009, "seed": 0}
    assert [part.use for part in recipe.evaluate.metric_parts] == ["exact", "cider"]
    assert list(recipe.data.sources) == ["train"]
    [fusion] = recipe.fusions
    assert (fusion.name, fusion.encoders) == ("adem", ["video"])


def test_a_dictionary_is_read_like_its_file(write, tmp_path):
    data = {
        "name": "d",
        "lm": {"model": tmp_path},
        "encoders": {"v": {"use": "frames"}},
        "fusion": [{"use": "pkg.mod:Mine", "sizes": ((1, 2), (3, 4))}],
        "head": {"use": "caption"},
    }
    recipe = load_recipe(data)
    assert recipe.lm.model == str(tmp_path)
    assert recipe.fusions[0].options == {"sizes": [[1, 2], [3, 4]]}
    assert recipe.fusions[0].name == "Mine"
    data["head"]["prompt"] = object()
    assert problems(data) == [
        "recipe: head.prompt: a object cannot stand in a recipe; expected text, a number, true, "
        "false, null, a list or a mapping"
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_text(write):
    text = RECIPE.replace("name: clip-caption", "name: a/b").replace("lm: {", "lm: {dtpe: x, ")
    text = text.replace("use: caption, ", "").replace("evaluate: {", "evaluate: {batch_size: 0, ")
    file = write(text + "evalute: {}\n")
    lines = [line.removeprefix(str(file)) for line in problems(file)]
    assert lines == [
        ":1:7: name: not allowed ('a/b'); expected a file name of letters, digits, '.', '_' "
        "and '-'",
        ":2:6: lm.dtpe: unknown key; expected one of attn_implementation, device_map, dropout, "
        "dtype, gguf_file, lora, model, quantization, revision, tokenizer, tokenizer_revision, "
        "trust_remote_code; did you mean 'dtype'?",
        ":6:1: head.use: missing",
        ":10:24: evaluate.batch_size: out of range (0); expected at least 1",
        ":11:1: evalute: unknown key; expected one of configs, data, departures, encoders, "
        "evaluate, extends, fusion, head, lm, name, train; did you mean 'evaluate'?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"org/lm"', "5", "lm.model: wrong type (5); expected text; write it in quotes: '5'"),
        ('"org/lm"', "true", "wrong type (true); expected text; write it in quotes: 'true'"),
        ('lm: {model: "org/lm"}', "lm: gpt2", "expected a mapping with `model:`"),
        ("{model:", "{dtype: flaot32, model:", "did you mean 'float32'?"),
        ("{model:", "{dropout: yes, model:", "wrong type ('yes'); expected true or false"),
        ("{model:", "{lora: {rr: 8}, model:", "lm.lora.rr: unknown key; expected one of alpha"),
        ("{model:", "{lora: {r: 0}, model:", "lm.lora.r: out of range (0); expected at least 1"),
        (
            "  video:",
            "  my video:",
            "encoders.my video: not allowed ('my video'); expected letters",
        ),
        (
            "fusion: {use: adem, scales: [[4, 4], [2, 2]], alpha: 1.0}",
            "fusion: adem",
            ":5:9: fusion: wrong type ('adem'); expected a mapping with `use:`",
        ),
        ("fusion: {use: adem,", "fusion: {use: 7,", "fusion.use: wrong type (7); expected text"),
        ("fusion: {use: adem,", "fusion: {uze: adem,", ":5:1: fusion.use: missing"),
        ("[exact, {use", "[exact, {uze", "evaluate.metrics.1.use: missing"),
        ("[exact, {use", "[3, {use", "evaluate.metrics.0: wrong type (3)"),
        (
            "train: {max",
            "train: {unfreeze: [{encoder: v, blocks: 3}], max",
            "blocks: wrong type (3)",
        ),
        ("train: {max", "train: {unfreeze: [{encoder: v, blocks: '3'}], max", "a slice in quotes"),
        (
            "data:\n",
            "data:\n  max_bad_share: 2\n",
            "max_bad_share: out of range (2); expected at most",
        ),
    ],
)
def test_messages(write, old, new, expected):
    assert old in RECIPE
    file = write(RECIPE.replace(old, new, 1))
    assert expected in "\n".join(problems(file))


def test_fusion_list_errors_point_at_the_item(write):
    text = RECIPE.replace(
        "fusion: {use: adem, scales: [[4, 4], [2, 2]], alpha: 1.0}",
        "fusion:\n  - {use: adem}\n  - {use: adem, name: 3}",
    )
    assert problems(write(text))[0].endswith(
        ":7:23: fusion.1.name: wrong type (3); expected text; write it in quotes: '3'"
    )


def test_extends_merges_and_keeps_where_values_were_written(write):
    base = write(RECIPE, "base/base.yaml")
    child = write("extends: ../base/base.yaml\nname: child\ntrain: {max_steps: 5}\n", "sub/c.yaml")
    recipe = load_recipe(child)
    assert recipe.name == "child"
    assert recipe.train.arguments == {"max_steps": 5, "learning_rate": 0.009, "seed": 0}
    assert recipe.problem(("train", "max_steps"), "m").file == str(child)
    place = recipe.problem(("train", "seed"), "m")
    assert os.path.samefile(place.file, base)
    assert place.line == 9


def test_extends_null_removes_and_a_new_use_starts_afresh(write):
    write(RECIPE, "base.yaml")
    text = "extends: base.yaml\nfusion: {use: other, beta: 2}\ntrain: {seed: null}\n"
    recipe = load_recipe(write(text, "c.yaml"))
    assert recipe.fusions[0].options == {"beta": 2}
    assert "seed" not in recipe.train.arguments
    same = load_recipe(write("extends: base.yaml\nfusion: {beta: 2}\n", "d.yaml"))
    assert same.fusions[0].options == {"scales": [[4, 4], [2, 2]], "alpha": 1.0, "beta": 2}


def test_a_new_use_keeps_the_name_and_the_encoders(write):
    text = RECIPE.replace("{use: adem,", "{use: adem, name: f, encoders: [video],")
    write(text.replace("fusion:", "  other: {use: frames}\nfusion:"), "base.yaml")
    recipe = load_recipe(write("extends: base.yaml\nfusion: {use: other}\n", "c.yaml"))
    [fusion] = recipe.fusions
    assert (fusion.use, fusion.name, fusion.encoders) == ("other", "f", ["video"])
    assert fusion.options == {}


def test_extends_in_a_circle_and_missing_and_not_text(write):
    write("extends: b.yaml\n", "a.yaml")
    b = write("extends: a.yaml\n", "b.yaml")
    [line] = problems(b)
    assert "a.yaml:1:10: extends: recipes extend in a circle: b.yaml -> a.yaml -> b.yaml" in line
    [line] = problems(write("name: x\nextends: base.yml\n", "c.yaml"))
    assert "c.yaml:2:10: extends: cannot read" in line
    assert "No such file or directory" in line
    [line] = problems(write("extends: [a]\n", "d.yaml"))
    assert 'extends: wrong type (["a"]); expected the path of another recipe' in line


def test_a_long_chain_is_refused(write):
    for index in range(30):
        write(f"extends: r{index + 1}.yaml\n", f"r{index}.yaml")
    file = write("extends: r0.yaml\n")
    assert "more than 20 recipes extend one another" in problems(file)[0]


def test_files_that_are_no_recipe(write, tmp_path):
    write(RECIPE, "video.yaml")
    [line] = problems(tmp_path / "vidoe.yaml")
    assert line.endswith("No such file or directory; did you mean 'video.yaml'?")
    write(RECIPE, "own.yaml")
    [line] = problems(tmp_path / "nosuch.yaml")  # only the suffix is alike
    assert line.endswith("No such file or directory")
    assert "is a folder" in problems(tmp_path)[0]
    assert "the recipe is empty; expected a mapping" in problems(write("# nothing\n"))[0]
    assert ":1:1: the recipe is 'hello'; expected a mapping" in problems(write("hello\n"))[0]
    (tmp_path / "latin.yaml").write_bytes("name: x\nlm: caf\u00e9".encode("latin-1"))
    assert "latin.yaml:2:8: not UTF-8 text" in problems(tmp_path / "latin.yaml")[0]
    assert "larger than 1 MB" in problems(write("# " + "x" * 1_000_001))[0]
    assert "null" in problems("a\0b.yaml")[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "is not a regular file" in problems(tmp_path / "pipe.yaml")[0]


@pytest.mark.parametrize("path", ["/etc/passwd", "a\\0b.yaml", "../secret"])
def test_only_recipes_are_extended(path, tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(f'extends: "{path}"\n')
    with pytest.raises(RecipeError, match=r"r\.yaml:1:10: extends: .* is no recipe; expected"):
        load_recipe(file)


def test_long_words_give_short_errors(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(f"{'k' * 100_000}: 1\nlm: {{model: x, {'m' * 100_000}: 1}}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert len(str(caught.value)) < 5000


def test_a_word_in_place_of_a_list_is_told_how_to_be_one():
    with pytest.raises(RecipeError, match=r"expected a list; write it in brackets: \[cider\]"):
        load_recipe({"evaluate": {"metrics": "cider"}})


def test_a_recipe_beside_an_adapter_extends_nothing(tmp_path):
    (tmp_path / "base.yaml").write_text("name: base\n")
    (tmp_path / "recipe.yaml").write_text("extends: base.yaml\n")
    (tmp_path / "adapter.safetensors").write_bytes(b"")
    with pytest.raises(RecipeError, match=r"recipe\.yaml:1:10: extends: a saved recipe is whole"):
        load_recipe(tmp_path / "recipe.yaml")
