import pytest
import torch

from mmadapt.recipe import load_recipe, resolve
from mmadapt.train import rows
from mmadapt.train.callbacks import FrozenStays
from mmadapt.train.folder import RunFolder
from mmadapt.train.session import start
from tests import world


@pytest.fixture
def session(tmp_path):
    blind = {"blind": ["removed", "swapped", "trained"]}
    keys = {"verify_frozen": False, "max_skipped_steps": 3, "eval_on_start": True}
    lm = world.save_lm(tmp_path / "lm")
    recipe = load_recipe(world.recipe(lm, train=keys, evaluate=blind))
    folder = RunFolder(tmp_path / "run", recipe, resume=False)
    session = start(resolve(recipe, allow_code=True), folder, allow_code=True, quiet=True)
    with torch.no_grad():  # as if it had been trained
        for parameter in session.model.trainable_parameters().values():
            parameter.add_(0.25)
    return session


def test_the_blind_adapter_starts_afresh_and_the_trained_one_comes_back(session, monkeypatch):
    trained = {k: v.clone() for k, v in session.model.adapter_state_dict().items()}
    begun = []

    class Spy(rows.AdapterTrainer):
        def train(self):
            begun.append({k: v.clone() for k, v in session.model.adapter_state_dict().items()})
            assert self.train_dataset.media == "blank" and self.args.max_steps == 10
            assert self.max_skipped_steps == 3 and not self.args.eval_on_start
            callbacks = self.callback_handler.callbacks
            assert not any(isinstance(callback, FrozenStays) for callback in callbacks)
            return super().train()

    monkeypatch.setattr(rows, "AdapterTrainer", Spy)
    scored = rows.score_rows(session, max_steps=40)
    assert list(scored.scores) == ["metrics", "blind", "blind_swapped", "blind_trained"]
    assert all(torch.equal(begun[0][k], v) for k, v in session.initial.items())
    after = session.model.adapter_state_dict()
    assert all(torch.equal(after[k], v) for k, v in trained.items())
    assert not list((session.folder.path / "blind").glob("checkpoint-*"))


def test_without_anything_to_score_there_are_no_rows(session):
    session.sources.pop("test")
    assert rows.score_rows(session, 40) is None


def test_validation_stands_in_for_test(session):
    session.resolved.sources["validation"] = session.resolved.sources.pop("test")
    session.sources["validation"] = session.sources.pop("test")
    assert rows.score_rows(session, 4).settings["split"] == "validation"
