import pytest

from mmadapt.contracts import Fusion
from mmadapt.errors import RecipeError
from mmadapt.recipe import FusionPart, load_and_resolve, load_recipe, resolve
from tests.core.recipe.samples import RECIPE, Adem, Cider, make_registry


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return path

    return write


def problems(file, overrides=(), **options):
    with pytest.raises(RecipeError) as error:
        load_and_resolve(file, overrides, options.pop("registry", make_registry()), **options)
    return [str(problem).removeprefix(str(file)) for problem in error.value.problems]


def test_every_part_gets_its_class_and_validated_options(write):
    resolved = resolve(load_recipe(write(RECIPE)), make_registry())
    assert resolved.encoders["video"].config.num_frames == 8
    [fusion] = resolved.fusions
    assert fusion.cls is Adem
    assert fusion.name == "adem"
    assert fusion.config.scales == ((4, 4), (2, 2))
    assert resolved.head.config.prompt == "a video of"
    assert resolved.sources["train"].config.path == "train.jsonl"
    assert [metric.name for metric in resolved.metrics] == ["exact", "cider"]
    assert resolved.metrics[1].cls is Cider
    assert resolved.metrics[1].config.n == 2


def test_a_recipe_from_a_dictionary_resolves_too():
    recipe = load_recipe({
        "name": "d", "lm": {"model": "m"}, "encoders": {"v": {"use": "frames", "model": "m"}},
        "fusion": [{"use": "adem", "scales": ((1, 2),)}, {"use": "adem", "name": "b"}],
        "head": {"use": "caption"},
    })  # fmt: skip
    resolved = resolve(recipe, make_registry())
    assert resolved.fusions[0].config.scales == ((1, 2),)
    assert [fusion.name for fusion in resolved.fusions] == ["adem", "b"]


def test_of_two_types_the_one_that_was_meant_is_spoken_of(write):
    file = write(RECIPE)
    assert [line.rpartition("': ")[2] for line in problems(file, ["fusion.layers=[1, x]"])] == [
        "fusion.layers.1: wrong type ('x'); expected a whole number"
    ]
    assert [line.rpartition("': ")[2] for line in problems(file, ["fusion.layers=x"])] == [
        "fusion.layers: wrong type ('x'); expected a whole number or a list"
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("alpha:", "alpa:", ":5:47: fusion.alpa: unknown option of fusion 'adem' (pack 0.1); "
         "expected one of alpha, encoders, inner, layers, learning_rate, mode, name, scales, use; "
         "did you mean 'alpha'?"),
        ("alpha: 1.0", "alpha: one", ":5:54: fusion.alpha: wrong type ('one'); expected a number"),
        ("alpha: 1.0", "alpha: '1'", "fusion.alpha: wrong type ('1'); expected a number"),
        ("alpha: 1.0", "mode: sofd", "fusion.mode: not allowed ('sofd'); expected 'soft' or "
         "'hard'; did you mean 'soft'?"),
        ("alpha: 1.0", "inner: {widht: 3}", "fusion.inner.widht: unknown option of fusion 'adem' "
         "(pack 0.1); expected width; did you mean 'width'?"),
        ("[2, 2]]", "[2, x]]", ":5:42: fusion.scales.1.1: wrong type ('x'); expected a whole"),
        ("[2, 2]]", "[2]]", "fusion.scales.1.1: missing"),
        ("num_frames: 8", "num_frames: 0", "encoders.video.num_frames: out of range (0); "
         "expected at least 1"),
        (', model: "org/vit"', "", ":4:3: encoders.video.model: missing"),
        ("use: adem", "use: amed", ":5:15: fusion.use: unknown fusion 'amed'; available: adem; "
         "did you mean 'adem'?"),
        ("use: caption", "use: os:system", "head.use: head 'os:system' names Python code"),
        ("metrics: [exact", "metrics: [cidr", ":10:22: evaluate.metrics.0: unknown metric 'cidr'"),
        ("{use: cider, n: 2}", "{use: cider, m: 2}", "evaluate.metrics.1.m: unknown option"),
        ("metrics: [exact", "metrics: [exact, exact", "metrics.1: 'exact' is listed twice"),
        ("use: adem,", "use: adem, encoders: [vido],", "fusion.encoders.0: unknown encoder 'vido'; "
         "expected video; did you mean 'video'?"),
        ("train: {max", "train: {unfreeze: [{encoder: vit}], max", "train.unfreeze.0.encoder: "
         "unknown encoder 'vit'; expected video"),
        ('"org/lm"', '"embedd:lm"', ":2:13: lm.model: unknown weights 'embedd'; available: none"),
        ('"org/vit"', '"embedd:vit"', "encoders.video.model: unknown weights 'embedd'"),
    ],
)  # fmt: skip
def test_messages(write, old, new, expected):
    assert old in RECIPE
    lines = problems(write(RECIPE.replace(old, new, 1)))
    assert [line for line in lines if expected in line], lines


def test_mistakes_of_the_schema_and_of_options_are_told_together(write):
    text = RECIPE.replace("lm: {", "lm: {dtpe: 1, ").replace("alpha:", "alpa:")
    text = text.replace("max_steps: 800", "max_step: 800")
    lines = problems(write(text))
    assert [line.split(": ")[1] for line in lines] == ["lm.dtpe", "fusion.alpa", "train.max_step"]


def test_an_encoder_that_no_fusion_serves(write):
    text = RECIPE.replace("fusion:", '  other: {use: frames, model: "x"}\nfusion:')
    assert problems(write(text), ["fusion.encoders=[video]"]) == [
        ":5:10: encoders.other: no fusion serves the encoder 'other'; "
        "name it in the `encoders:` of a fusion, or remove it"
    ]


def test_two_fusions_of_one_name(write):
    file = write(RECIPE)
    assert problems(file, ["fusion=[{use: adem}, {use: adem}]"]) == [
        "override 'fusion=[{use: adem}, {use: adem}]': fusion.1: two fusions are called 'adem'; "
        "give each a `name:` of its own"
    ]


def test_code_runs_only_when_allowed(write, tmp_path, monkeypatch):
    (tmp_path / "my_code.py").write_text(
        "from mmadapt import Head\nfrom pydantic import BaseModel\n"
        "class Mine(Head):\n class Config(BaseModel):\n  a: int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = write(RECIPE.replace("use: caption, prompt:", "use: my_code:Mine, a:"))
    assert "--allow-code" in problems(file)[0]
    [line] = problems(file, allow_code=True)
    assert "head.a: wrong type ('a video of'); expected a whole number" in line
    resolved = load_and_resolve(file, ["head.a=3"], make_registry(), allow_code=True)
    assert resolved.head.config.a == 3


def test_a_class_without_config_and_a_validator_that_raises(write):
    class Bare(Fusion):
        pass

    class Raises(Fusion):
        class Config(Adem.Config):
            def model_post_init(self, context):
                raise TypeError("first\nsecond")

    registry = make_registry()
    registry.register("fusion", "bare", Bare)
    registry.register("fusion", "raises", Raises)
    file = write(RECIPE)
    assert (
        "fusion 'bare' has no `Config`" in problems(file, ["fusion.use=bare"], registry=registry)[0]
    )
    [line] = problems(file, ["fusion.use=raises"], registry=registry)
    assert line.endswith("cannot be checked: TypeError: first")


def test_missing_packages_are_told_before_anything_is_loaded(write, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [line] = problems(write(RECIPE), ["lm.quantization=4bit"])
    assert line.endswith(
        "lm.quantization: needs the package 'bitsandbytes', which is not installed; "
        "pip install 'mmadapt[quantization]'"
    )


def test_replaced_keys_are_resolved_and_the_others_keep_their_places(write):
    file = write(RECIPE)
    recipe = load_recipe(file)
    changed = recipe.replaced(name="other", fusion=FusionPart(use="adem", name="b"))
    [fusion] = resolve(changed, make_registry()).fusions
    assert (changed.name, fusion.name, fusion.config.scales) == ("other", "b", ())
    assert changed.folder_of(("lm", "model")) == file.parent
    assert recipe.fusions[0].name == "adem"


def test_a_misspelt_key_is_not_missing_as_well(write):
    [line] = problems(write(RECIPE.replace('model: "org/vit"', 'modell: "org/vit"')))
    assert "did you mean 'model'?" in line
