"""What the hub is asked, and what is taken from it: its client replaced, or reading its cache."""

import types

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

import mmadapt
from mmadapt.errors import AdapterError
from mmadapt.revisions import commit_of
from tests import world

COMMIT = "0" * 39 + "c"


class Client:
    """Answers as `HfApi` does, and remembers what it was asked."""

    def __init__(self, asked, fails=None):
        self.asked, self.fails = asked, fails

    def __call__(self, token=None):
        return self

    def __getattr__(self, name):
        def ask(*args, **options):
            if self.fails is not None:
                raise self.fails
            path = options.get("folder_path")
            files = sorted(file.name for file in path.iterdir()) if path else None
            self.asked.append((name, *args, options.get("revision"), files))
            return types.SimpleNamespace(sha=COMMIT)

        return ask


@pytest.fixture
def asked(monkeypatch):
    found = []
    monkeypatch.setattr("mmadapt.revisions.hub_is_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "HfApi", Client(found))
    return found


def test_the_hub_names_the_commit(asked):
    assert commit_of("org/a", "v1") == commit_of("org/b", kind="dataset") == COMMIT
    assert asked == [("model_info", "org/a", "v1", None), ("dataset_info", "org/b", None, None)]


@pytest.mark.parametrize("error", [TimeoutError("slow"), ValueError("no such name")])
def test_where_the_hub_fails_what_was_downloaded_last_counts(asked, monkeypatch, tmp_path, error):
    monkeypatch.setattr(huggingface_hub, "HfApi", Client([], error))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert commit_of("org/a") is None
    folder = tmp_path / "models--org--a"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert commit_of("org/a") == COMMIT


def test_an_adapter_of_the_hub_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mmadapt.composition.hub_is_reachable", lambda: False)
    model = world.untrained(tmp_path / "lm")
    folder = tmp_path / "hub" / "models--org--adapter"
    model.save_pretrained(folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    found, expected = (
        one.adapter_state_dict() for one in (mmadapt.load("org/adapter", allow_code=True), model)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(AdapterError, match="org/other is neither a folder nor an adapter"):
        mmadapt.load("org/other")


def test_what_is_pushed_is_the_adapter_alone(asked, monkeypatch, tmp_path):
    model = world.untrained(tmp_path / "lm")
    model.push_to_hub("org/mine")
    (made, _, _, none), (uploaded, _, files) = asked
    model.save_pretrained(tmp_path / "adapter")
    assert (made, uploaded, none) == ("create_repo", "upload_folder", None)
    assert files == sorted(file.name for file in (tmp_path / "adapter").iterdir())
    response = types.SimpleNamespace(headers={}, request=None, status_code=403)
    refusal = HfHubHTTPError("you may not", response=response)
    monkeypatch.setattr(huggingface_hub, "HfApi", Client([], refusal))
    with pytest.raises(AdapterError, match="org/mine: upload failed: you may not"):
        model.push_to_hub("org/mine")
