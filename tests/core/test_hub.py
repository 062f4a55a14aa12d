"""What the hub is asked, and what is taken from it: its client replaced, or reading its cache."""

import types

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import filter_repo_objects
from typer.testing import CliRunner

import mmadapt
from mmadapt.cli.app import app
from mmadapt.composition import adapter_folder
from mmadapt.errors import AdapterError
from mmadapt.revisions import commit_of
from tests import world

COMMIT, OLDER = "0" * 39 + "c", "0" * 39 + "d"


class Client:
    """Answers as `HfApi` does, and remembers what it was asked."""

    def __init__(self, asked, fails=None):
        self.asked, self.fails, self.tokens = asked, fails, []

    def __call__(self, token=None):
        self.tokens.append(token)
        return self

    def __getattr__(self, name):
        def ask(*args, **options):
            if self.fails is not None:
                raise self.fails
            if path := options.pop("folder_path", None):
                options["files"] = sorted(file.name for file in path.iterdir())
            self.asked.append((name, *args, options))
            return types.SimpleNamespace(sha=COMMIT)

        return ask


class Transport(Exception):
    """What the hub's client lets through: errors of httpx, which are no OSError."""


@pytest.fixture
def asked(monkeypatch):
    found = []
    monkeypatch.setattr("mmadapt.revisions.hub_is_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "HfApi", Client(found))
    return found


def test_the_hub_names_the_commit(asked):
    assert commit_of("org/a", "v1") == commit_of("org/b", kind="dataset") == COMMIT
    (first, second), wait = asked, {"timeout": 10.0}
    assert first == ("model_info", "org/a", {"revision": "v1", **wait})
    assert second == ("dataset_info", "org/b", {"revision": None, **wait})


@pytest.mark.parametrize(
    "error", [TimeoutError("slow"), ValueError("no such name"), Transport("reset")]
)
def test_where_the_hub_fails_what_was_downloaded_last_counts(asked, monkeypatch, tmp_path, error):
    monkeypatch.setattr(huggingface_hub, "HfApi", Client([], error))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert commit_of("org/a") is None
    folder = tmp_path / "models--org--a"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert commit_of("org/a") == COMMIT


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """Of an adapter with two commits in the cache, `main` and the older `v1`."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("mmadapt.composition.hub_is_reachable", lambda: False)
    folder, made = tmp_path / "hub" / "models--org--adapter", {}
    (folder / "refs").mkdir(parents=True)
    model = world.untrained(tmp_path / "lm")
    for name, commit in (("main", COMMIT), ("v1", OLDER)):
        for parameter in model.trainable_parameters().values():
            torch.nn.init.normal_(parameter)
        model.save_pretrained(folder / "snapshots" / commit)
        (folder / "refs" / name).write_text(commit)
        made[name] = {key: value.clone() for key, value in model.adapter_state_dict().items()}
    return made


def same(found, expected):
    return all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("revision", "name"), [(None, "main"), ("v1", "v1"), (OLDER, "v1"), (COMMIT, "main")]
)
def test_an_adapter_of_the_hub_is_loaded_at_the_revision_asked_for(weights, revision, name):
    model = mmadapt.load("org/adapter", revision=revision, allow_code=True)
    other = ({"main", "v1"} - {name}).pop()
    assert same(model.adapter_state_dict(), weights[name])
    assert not same(model.adapter_state_dict(), weights[other])


def test_commands_ask_for_a_revision_too(weights, monkeypatch):
    asked = []

    def found(folder, revision=None):
        asked.append((str(folder), revision))
        raise AdapterError("enough")

    monkeypatch.setattr("mmadapt.composition.adapter_folder", found)
    monkeypatch.setattr("mmadapt.evaluate.subject.adapter_folder", found)
    for line in (["generate", "org/adapter", "--image", "x.png"], ["evaluate", "org/adapter"]):
        result = CliRunner().invoke(app, [*line, "--revision", "v1"])
        assert result.exit_code == 2 and "error: enough" in result.output
    assert asked == [("org/adapter", "v1")] * 2


def test_what_the_hub_does_not_have_is_said(weights, tmp_path):
    with pytest.raises(AdapterError, match=r"^org/other is neither a folder nor an adapter"):
        mmadapt.load("org/other")
    with pytest.raises(AdapterError, match=r"^org/adapter \(v2\) is neither a folder nor an"):
        mmadapt.load("org/adapter", revision="v2")
    with pytest.raises(AdapterError, match="is not on the hub, so it has no revision v1"):
        mmadapt.load(tmp_path / "lm", revision="v1")


def test_an_error_of_the_transport_is_said_too(weights, monkeypatch):
    def fail(*_, **__):
        raise Transport

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(AdapterError, match=r"that the hub gives: Transport$"):
        mmadapt.load("org/adapter")


def test_no_pickle_is_fetched_with_an_adapter(weights, monkeypatch, tmp_path):
    taken = []
    fetch = huggingface_hub.snapshot_download

    def fetched(*args, **options):
        assert constants.HF_HUB_OFFLINE  # what cannot be reached is not asked
        taken.append(options["allow_patterns"])
        return fetch(*args, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    folder = adapter_folder("org/adapter")
    names = ["x.bin", "x.pt", "x.pkl", "x.py", *(file.name for file in folder.iterdir())]
    kept = set(filter_repo_objects(names, allow_patterns=taken[0]))
    assert kept == {file.name for file in folder.iterdir()} and len(kept) == 4


def test_what_is_pushed_is_the_adapter_alone_and_private(asked, monkeypatch, tmp_path):
    model = world.untrained(tmp_path / "lm")
    model.push_to_hub("org/mine", token="secret")
    model.push_to_hub("org/mine", private=False)
    model.save_pretrained(tmp_path / "adapter")
    files = sorted(file.name for file in (tmp_path / "adapter").iterdir())
    upload = ("upload_folder", {"repo_id": "org/mine", "files": files})
    assert asked == [
        one
        for private in (True, False)
        for one in (("create_repo", "org/mine", {"private": private, "exist_ok": True}), upload)
    ]
    assert huggingface_hub.HfApi.tokens == ["secret", None]
    response = types.SimpleNamespace(headers={}, request=None, status_code=403)
    refusal = HfHubHTTPError("you may not", response=response)
    monkeypatch.setattr(huggingface_hub, "HfApi", Client([], refusal))
    with pytest.raises(AdapterError, match="org/mine: upload failed: you may not"):
        model.push_to_hub("org/mine")
    for error, said in ((Transport("reset\nby peer"), "reset"), (Transport(), "Transport")):
        monkeypatch.setattr(huggingface_hub, "HfApi", Client([], error))
        with pytest.raises(AdapterError, match=f"org/mine: upload failed: {said}$"):
            model.push_to_hub("org/mine")
