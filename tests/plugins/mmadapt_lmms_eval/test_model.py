"""The model against lmms-eval's interface: its own where it is installed, else a double of it."""

import importlib
import sys
import types
from dataclasses import dataclass
from importlib.metadata import entry_points

import pytest
import torch

from mmadapt.composition import compose
from mmadapt.data.inputs import collate_prompts
from mmadapt.errors import AdapterError, ModelError
from mmadapt.generation.candidates import Pair, log_likelihoods
from mmadapt.text import target_ids
from tests import world

DOCS = [{"image": f"c{n % 4}/{n}", "q": " ".join(["say"] * (1 + n % 3)), "n": n} for n in range(7)]


def double():
    """lmms-eval 0.7.3's `Instance`, `GenerationResult` and `lmms`, as far as models use them."""

    @dataclass
    class GenerationResult:
        text: str
        token_counts: object = None

    class lmms:
        def __init__(self):
            self._rank, self._world_size, self.task_dict = 0, 1, {}

        rank = property(lambda self: self._rank)

    instance, model = types.ModuleType("instance"), types.ModuleType("model")
    instance.Instance, instance.GenerationResult, model.lmms = object, GenerationResult, lmms
    api, root = types.ModuleType("api"), types.ModuleType("lmms_eval")
    names = ("lmms_eval", "lmms_eval.api", "lmms_eval.api.instance", "lmms_eval.api.model")
    return dict(zip(names, (root, api, instance, model), strict=True))


@pytest.fixture(scope="module")
def lmms_model(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    try:
        importlib.import_module("lmms_eval.api.model")
    except ImportError:
        for name, module in double().items():
            patch.setitem(sys.modules, name, module)
    patch.delitem(sys.modules, "mmadapt_lmms_eval.model", raising=False)
    found = importlib.import_module("mmadapt_lmms_eval.model")
    yield found
    patch.delitem(sys.modules, "mmadapt_lmms_eval.model", raising=False)
    patch.undo()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    torch.manual_seed(1)
    lm = world.save_lm(tmp_path_factory.mktemp("lm"))
    model = compose(world.recipe(lm), allow_code=True)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def build(lmms_model, adapter, monkeypatch):
    """The model over documents whose pictures are this world's paths."""

    def parts(visuals, called):
        return [{"type": "image", "path": path} for path in visuals or []]

    def built(**options):
        monkeypatch.setattr(lmms_model, "media_parts", parts)
        model = lmms_model.MMAdapt(str(adapter), allow_code=True, **options)
        model.task_dict["task"] = {"test": DOCS}
        return model

    return built


def request(number, second):
    doc = DOCS[number]
    arguments = (doc["q"], second, lambda doc: [doc["image"]], number, "task", "test")
    return types.SimpleNamespace(args=arguments)


def test_generation_is_that_of_the_adapter_in_any_batch(build):
    kwargs = {"max_new_tokens": 3, "temperature": 0}
    kinds = [kwargs if n % 2 else {**kwargs, "max_new_tokens": 1} for n in range(7)]
    answers = [
        build(batch_size=size).generate_until([request(n, kinds[n]) for n in range(7)])
        for size in (1, 3, "8")
    ]
    assert answers[0] == answers[1] == answers[2] and len(set(answers[0])) > 1
    model = build()
    inner = model.model
    for number in (0, 1):
        own = {"id": "x", "prompt": DOCS[number]["q"], "media": [
            {"type": "image", "path": DOCS[number]["image"]}
        ]}  # fmt: skip
        batch = collate_prompts([own], inner.head, inner.tokenizer, inner.processors)
        ids = inner.generate_batch(**batch, max_new_tokens=kinds[number]["max_new_tokens"])
        text = inner.tokenizer.batch_decode(ids, skip_special_tokens=True)[0].strip()
        assert answers[0][number] == text


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_choices_have_the_smallest_value_where_they_are_likeliest(build, score):
    """lmms-eval takes the smallest value of a multiple choice."""
    choices = [" red", " green", " dark light"]
    requests = [request(n, choice) for n in range(5) for choice in choices]
    found = build(batch_size=2, score=score).loglikelihood(requests)
    inner = build().model
    for number in range(5):
        sample = {"id": "x", "prompt": DOCS[number]["q"], "media": [
            {"type": "image", "path": DOCS[number]["image"]}
        ]}  # fmt: skip
        batch = collate_prompts([sample], inner.head, inner.tokenizer, inner.processors)
        ids = [target_ids(inner.tokenizer, DOCS[number]["q"], text.strip()) for text in choices]
        scores = log_likelihoods(inner, batch, [Pair(0, own) for own in ids])
        said = inner.generate_batch(**batch, max_new_tokens=4)[0].tolist()
        for place, own in enumerate(ids):
            value, is_greedy = found[3 * number + place]
            terms = len(own) if score == "mean" else 1
            assert value == pytest.approx(-float(scores[place]) / terms, abs=1e-4)
            assert is_greedy == (said[: len(own)] == own)
    assert all(result.text == tuple(result) for result in found)


def test_a_target_may_be_a_function_of_the_document(build):
    found = build().loglikelihood([request(0, lambda doc: " red"), request(0, " red")])
    assert tuple(found[0]) == tuple(found[1])


def test_mistakes_are_clear(build, lmms_model):
    with pytest.raises(ModelError, match="batch_size=auto: must be a number"):
        build(batch_size="auto")
    with pytest.raises(ModelError, match="score=best: must be mean or sum"):
        build(score="best")
    with pytest.raises(AdapterError, match="is no adapter folder"):
        lmms_model.MMAdapt("no/such/folder")
    with pytest.raises(ModelError, match="answers in one round"):
        build().generate_until_multi_round([])
    assert build(**{"evaluate.batch_size": 5}).model.recipe.evaluate.batch_size == 5


def test_the_entry_point_names_the_manifest():
    [found] = [ep for ep in entry_points(group="lmms_eval.models") if ep.name == "mmadapt"]
    assert found.value == "mmadapt_lmms_eval.manifest:manifest" and callable(found.load())


def test_lmms_eval_finds_the_model():
    registry = pytest.importorskip("lmms_eval.models").MODEL_REGISTRY_V2
    assert registry.get_model_class("mmadapt").__name__ == "MMAdapt"
