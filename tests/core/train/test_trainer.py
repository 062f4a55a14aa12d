import json

import pytest
import torch
from safetensors.torch import load_file

from mmadapt.composition import compose
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.quarantine import Quarantine
from mmadapt.errors import DataError, RecipeError, TrainingError
from mmadapt.recipe import TrainConfig
from mmadapt.train.arguments import training_arguments
from mmadapt.train.callbacks import ProgressBar, RunLog
from mmadapt.train.checkpoints import last_checkpoint
from mmadapt.train.trainer import AdapterTrainer
from tests import world


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


class Uneven(world.ColourSource):
    """Targets of one to three words, so that batches have different numbers of labels."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        words = [sample["target"], "dark", "light"][: 1 + index % 3]
        return {**sample, "target": " ".join(words)}


class Guessing(world.PlainHead):
    """A target drawn anew in every epoch."""

    def target(self, sample, rng=None):
        return str(rng.choice(world.COLOURS))


def model_of(lm, **blocks):
    torch.manual_seed(0)
    return compose(world.recipe(lm, **blocks), allow_code=True)


def trainer_of(
    model, folder, source=None, head=None, workers=0, augment=False, keys=None, **options
):
    config = {"max_steps": 6, "learning_rate": 0.03, "per_device_train_batch_size": 4, "seed": 3}
    config |= {"disable_tqdm": True, "use_cpu": True, **(keys or {})}
    args = training_arguments(
        TrainConfig(**config),
        folder,
        validates="validate" in options,
        metric="score" if "validate" in options else None,
        workers=workers,
    )
    samples = MediaDataset(
        source or world.ColourSource(world.ColourConfig()),
        head or model.head,
        model.require_tokenizer(),
        {"image": ("image", world.ColourProcessor(noise=augment))},
        training=True,
        seed=3,
        augment=augment,
        substitute="quarantine" in options,
    )
    return AdapterTrainer(model, args, samples, **options)


def adapter(model):
    return {name: value.clone() for name, value in model.adapter_state_dict().items()}


def assert_same(one, other, atol=0.0):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=0, atol=atol), name


@pytest.mark.parametrize("loss", ["mean_per_token", "sum_per_sample"])
def test_accumulating_four_batches_of_one_is_one_batch_of_four(lm, tmp_path, loss):
    def step(size, accumulation):
        model = model_of(lm)
        model.head.loss, model.head.loss_scale = loss, 0.5
        keys = {
            "max_steps": 1,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": accumulation,
            "optim": "sgd",
            "learning_rate": 1.0,
            "max_grad_norm": 0.0,
            "save_strategy": "no",
        }
        before = adapter(model)
        source = Uneven(world.ColourConfig())
        trainer_of(model, tmp_path / f"{size}", source, keys=keys).train()
        return {name: value - before[name] for name, value in adapter(model).items()}

    whole, parts = step(4, 1), step(1, 4)
    assert max(float(change.abs().max()) for change in whole.values()) > 1e-3
    assert_same(whole, parts, atol=1e-5)


def test_accumulated_losses_of_the_fusions_are_those_of_one_batch(lm, tmp_path, monkeypatch):
    """A fusion's own loss that is the same for every batch counts once, not once for each."""

    def own_loss(self, state):
        return self.project.weight.square().sum()

    def step(size, accumulation):
        keys = {
            "max_steps": 1,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": accumulation,
            "optim": "sgd",
            "learning_rate": 1.0,
            "max_grad_norm": 0.0,
            "save_strategy": "no",
        }
        model = model_of(lm)
        monkeypatch.setattr(type(model.fusions["EverySite"]), "aux_loss", own_loss)
        before = adapter(model)
        source = Uneven(world.ColourConfig())
        trainer_of(model, tmp_path / f"{size}", source, keys=keys).train()
        return {name: value - before[name] for name, value in adapter(model).items()}

    whole, parts = step(4, 1), step(1, 4)
    assert float(whole["fusions.EverySite.project.weight"].abs().max()) > 0.1
    assert_same(whole, parts, atol=1e-5)


def test_an_unreadable_batch_of_an_accumulated_step_is_the_error(lm, tmp_path):
    keys = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}
    source = world.ColourSource(world.ColourConfig(bad=list(range(24))))
    with pytest.raises(DataError, match=r"bad/\d+: cannot read image"):
        trainer_of(model_of(lm), tmp_path / "all", source, keys=keys).train()
    one = world.ColourSource(world.ColourConfig(bad=[2]))
    with pytest.raises(DataError, match="bad/2: cannot read image"):
        trainer_of(model_of(lm), tmp_path / "one", one, keys={**keys, "max_steps": 24}).train()


def test_a_loss_that_is_no_number_stops_training(lm, tmp_path):
    model = model_of(lm)
    keys = {"learning_rate": 1e30, "max_grad_norm": 0.0, "max_steps": 20}
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d.*learning_rate"):
        trainer_of(model, tmp_path, keys=keys).train()


@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_holds_the_adapter_alone(tmp_path, tied):
    lm = world.save_lm(tmp_path / "lm", tie_word_embeddings=tied)
    model = model_of(lm)
    trainer_of(model, tmp_path / "run", keys={"max_steps": 2}).train()
    folder = last_checkpoint(tmp_path / "run")
    saved = load_file(folder / "adapter.safetensors")
    assert saved.keys() == model.trainable_parameters().keys()
    assert_same(saved, adapter(model))
    assert not list(folder.glob("*.bin")) and not (folder / "model.safetensors").exists()


def test_frozen_weights_keep_their_bits_and_their_configuration(lm, tmp_path):
    model = model_of(lm)
    before = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("fusions.")}
    use_cache = model.lm.config.use_cache
    start = adapter(model)
    trainer_of(model, tmp_path).train()
    assert_same(before, {k: v for k, v in model.state_dict().items() if k in before})
    assert model.lm.config.use_cache == use_cache
    assert any(not torch.equal(start[k], v) for k, v in adapter(model).items())


class Stop(Exception):
    pass


class StopAt(RunLog):
    """Dies after a number of steps, as a killed process would."""

    def __init__(self, path, step):
        super().__init__(path)
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Stop


@pytest.mark.parametrize("stop", [5, 7, 12])
def test_a_resumed_run_is_the_run_that_was_never_stopped(lm, tmp_path, stop):
    keys = {"max_steps": 14, "save_steps": 2, "logging_steps": 1}
    options = {"head": Guessing(None), "augment": True, "keys": keys}
    straight = model_of(lm)
    trainer_of(
        straight, tmp_path / "a", callbacks=[RunLog(tmp_path / "a.jsonl")], **options
    ).train()
    folder, log = tmp_path / "b", tmp_path / "b.jsonl"
    with pytest.raises(Stop):
        trainer_of(model_of(lm), folder, callbacks=[StopAt(log, stop)], **options).train()
    resumed = model_of(lm)
    checkpoint = last_checkpoint(folder)
    assert checkpoint.name == f"checkpoint-{(stop - 1) // 2 * 2}"
    trainer = trainer_of(resumed, folder, callbacks=[RunLog(log)], **options)
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert_same(adapter(straight), adapter(resumed))
    losses = [
        [(r["step"], r["loss"]) for r in map(json.loads, path.open()) if "loss" in r]
        for path in (tmp_path / "a.jsonl", log)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 14


def test_workers_change_nothing(lm, tmp_path):
    def trained(workers):
        model = model_of(lm)
        keys = {"max_steps": 8, "save_strategy": "no"}
        trainer_of(
            model,
            tmp_path / f"{workers}",
            head=Guessing(None),
            augment=True,
            workers=workers,
            keys=keys,
        ).train()
        return adapter(model)

    assert_same(trained(0), trained(2))


def test_the_best_checkpoint_is_loaded_and_training_stops_early(lm, tmp_path):
    scores = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])
    model, seen = model_of(lm), []

    def validate():
        seen.append(adapter(model))
        return {"score": next(scores)}

    keys = {"max_steps": 12, "eval_steps": 2}
    trainer = trainer_of(model, tmp_path, validate=validate, patience=2, keys=keys)
    trainer.train()
    assert len(seen) == 4 and trainer.state.global_step == 8
    assert trainer.state.best_global_step == 4
    assert_same(adapter(model), seen[1])


def test_a_missing_score_is_named(lm, tmp_path):
    keys = {"metric_for_best_model": "bleu_5", "eval_steps": 1}
    trainer = trainer_of(model_of(lm), tmp_path, validate=lambda: {"score": 1.0}, keys=keys)
    with pytest.raises(RecipeError, match="'bleu_5' is not among the scores: score"):
        trainer.train()


def test_an_unreadable_sample_stops_training_and_is_named(lm, tmp_path):
    source = world.ColourSource(world.ColourConfig(bad=[2]))
    for workers in (0, 1):
        trainer = trainer_of(model_of(lm), tmp_path / f"{workers}", source, workers=workers)
        with pytest.raises(DataError, match=r"bad/2: cannot read image: the file is damaged"):
            trainer.train()


def test_a_tolerated_share_of_unreadable_samples_is_passed_over(lm, tmp_path, capsys):
    source = world.ColourSource(world.ColourConfig(bad=[2, 7]))
    keys = {"max_steps": 12}
    ten_percent = Quarantine(None, 0.1)
    trainer = trainer_of(model_of(lm), tmp_path / "a", source, quarantine=ten_percent, keys=keys)
    trainer.train()
    assert sorted(failure.id for failure in trainer.watch.bad.values()) == ["s2", "s7"]
    assert capsys.readouterr().err.count("bad/2") == 1
    five_percent = Quarantine(None, 0.05)
    trainer = trainer_of(model_of(lm), tmp_path / "b", source, quarantine=five_percent, keys=keys)
    with pytest.raises(DataError, match="2 of 24 samples cannot be read, more than"):
        trainer.train()


def test_a_wrong_sample_is_never_tolerated(lm, tmp_path):
    class Wordless(world.ColourSource):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "target": ""}

    source = Wordless(world.ColourConfig())
    with pytest.raises(DataError, match="no target"):
        trainer_of(model_of(lm), tmp_path, source, quarantine=Quarantine(None, 0.5)).train()


def test_an_optimiser_that_needs_the_whole_model_is_refused(lm, tmp_path):
    trainer = trainer_of(model_of(lm), tmp_path, keys={"optim": "lomo"})
    with pytest.raises((RecipeError, ImportError)):
        trainer.create_optimizer()


def test_an_error_does_not_leave_the_progress_bar_open(lm, tmp_path):
    source = world.ColourSource(world.ColourConfig(bad=[2]))
    trainer = trainer_of(model_of(lm), tmp_path, source, keys={"disable_tqdm": False})
    (bar,) = (c for c in trainer.callback_handler.callbacks if isinstance(c, ProgressBar))
    with pytest.raises(DataError):
        trainer.train()
    assert bar.shown is not None and bar.bar is None
