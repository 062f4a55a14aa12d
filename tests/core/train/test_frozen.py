"""A fusion that writes to a frozen weight is found out, whatever and however little it changes."""

import pytest
import torch

from mmadapt.errors import TrainingError
from mmadapt.train import frozen, train
from mmadapt.train.frozen import CHUNK, FrozenProof, checksum, frozen_tensors
from tests import world
from tests.toy import EverySite, EverySiteConfig

HERE = "tests.core.train.test_frozen"


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool]
)
def test_a_checksum_sees_every_element(dtype):
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randint(0, 2, (3 * CHUNK + 5,), generator=generator).to(dtype)
    before = checksum(tensor)
    assert checksum(tensor.clone()) == before
    for place in (0, CHUNK - 1, CHUNK, 3 * CHUNK + 4):
        changed = tensor.clone()
        changed[place] = 1 - int(changed[place])
        assert checksum(changed) != before


def test_a_checksum_sees_order_and_the_last_bit():
    tensor = torch.arange(4.0).reshape(2, 2)
    assert checksum(tensor) != checksum(tensor.flip(0))
    assert checksum(tensor.T) == checksum(tensor.T.contiguous()) != checksum(tensor)
    nearly = tensor.clone()
    nearly[1, 1] = torch.nextafter(nearly[1, 1], torch.tensor(9.0))
    assert checksum(nearly) != checksum(tensor)
    far = torch.zeros(2 * CHUNK)  # the same change in two chunks is not the change of one
    one, two = far.clone(), far.clone()
    one[3], two[3 + CHUNK] = 1.0, 1.0
    assert checksum(one) != checksum(two)


def test_a_checksum_is_the_same_on_devices_that_take_more_at_once(monkeypatch):
    tensor = torch.randn(5 * CHUNK + 7, generator=torch.Generator().manual_seed(0))
    before = checksum(tensor)
    for chunks in (2, 3, 64):
        monkeypatch.setattr(frozen, "_at_once", lambda device, chunks=chunks: chunks)
        assert checksum(tensor) == before


class Meddling(EverySite):
    """Writes to a weight of the LM, a buffer of the LM, or a parameter of its own, in one step."""

    def __init__(self, config, context):
        super().__init__(config, context)
        self.own = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
        self.calls = 0

    def prepare(self, features, state):
        self.calls += self.training
        if self.calls == 3 and TARGETS:
            with torch.no_grad():
                TARGETS[0].view(-1)[0].add_(1e-3)
        return super().prepare(features, state)


TARGETS: list[torch.Tensor] = []


@pytest.fixture
def meddled(monkeypatch):
    """Chooses the tensor of the model that the fusion writes to, by its name."""
    from mmadapt.train import session

    def choose(name):
        compose = session.compose

        def composed(*args, **kwargs):
            model = compose(*args, **kwargs)
            model.lm.register_buffer("statistics", torch.zeros(2))
            TARGETS[:] = [(dict(model.named_parameters()) | dict(model.named_buffers()))[name]]
            return model

        monkeypatch.setattr(session, "compose", composed)

    yield choose
    TARGETS.clear()


def recipe(lm, **train_keys):
    made = world.recipe(lm, train={"max_steps": 4, "use_cpu": True, **train_keys})
    made["fusion"] = {"use": f"{HERE}:Meddling", "sites": ["mlp_output"]}
    return made


@pytest.mark.parametrize(
    "name",
    ["lm.model.layers.0.mlp.down_proj.weight", "lm.statistics", "fusions.Meddling.own"],
)
def test_what_is_not_declared_trainable_must_not_change(name, lm, tmp_path, meddled):
    meddled(name)
    with pytest.raises(TrainingError) as raised:
        train(recipe(lm), tmp_path / "run", allow_code=True, quiet=True)
    assert str(raised.value).startswith(f"{name} changed during training without being declared")
    assert not (tmp_path / "run" / "adapter").exists()


def test_the_proof_can_be_left_out(lm, tmp_path, meddled):
    meddled("lm.model.layers.0.mlp.down_proj.weight")
    train(recipe(lm, verify_frozen=False), tmp_path / "run", allow_code=True, quiet=True)
    assert (tmp_path / "run" / "adapter").exists()


def test_honest_fusions_pass_and_what_they_train_is_not_frozen(lm, tmp_path):
    train(recipe(lm), tmp_path / "run", allow_code=True, quiet=True)
    from mmadapt.composition import compose

    model = compose(recipe(lm), allow_code=True)
    frozen = {name for name, _ in frozen_tensors(model)}
    trained = set(model.trainable_parameters())
    everything = {name for name, _ in model.named_parameters()}
    assert frozen & trained == set() and everything <= frozen | trained
    proof = FrozenProof(model)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter.add_(1)
    proof.check()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.add_(1)
    with pytest.raises(TrainingError, match=r"and \d+ more changed during training"):
        proof.check()


class Greedy(EverySite):
    """Asks the optimiser to train what is not declared."""

    Config = EverySiteConfig

    def param_groups(self, learning_rate, weight_decay):
        return [{"params": [*self.project.parameters(), *GREEDY], "lr": learning_rate}]


GREEDY: list[torch.nn.Parameter] = []


def test_the_optimiser_holds_what_is_declared_alone(lm):
    from mmadapt.composition import compose
    from mmadapt.train.optimizer import parameter_groups

    made = world.recipe(lm)
    made["fusion"] = {"use": f"{HERE}:Greedy", "sites": ["mlp_output"]}
    model = compose(made, allow_code=True)
    GREEDY.clear()
    groups = parameter_groups(model, [], 1e-3, 0.0)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(map(id, model.trainable_parameters().values()))
    GREEDY.append(model.lm.get_input_embeddings().weight)
    with pytest.raises(TrainingError, match=r"not the same, each once: lm\.model\.embed_tokens"):
        parameter_groups(model, [], 1e-3, 0.0)
    GREEDY[:] = [next(model.fusions["Greedy"].project.parameters())]
    with pytest.raises(TrainingError, match="not the same, each once; list those"):
        parameter_groups(model, [], 1e-3, 0.0)
    GREEDY.clear()
