import sys

import pytest
from pydantic import BaseModel

from mmadapt.contracts import Fusion, Head, Source
from mmadapt.errors import MissingDependency, PluginError
from mmadapt.registry import KINDS, Registry


class Mine(Fusion):
    class Config(BaseModel):
        alpha: float = 1.0


class Bare(Head):
    pass


class HalfASource(Source):
    class Config(BaseModel):
        pass

    def __len__(self):
        return 0


@pytest.fixture
def registry():
    registry = Registry()
    registry.register("fusion", "mine", Mine, "a fusion", "package_a", "1.0")
    return registry


def test_a_class_and_its_path_load_alike(registry):
    registry.register("fusion", "path", "decimal:Decimal")
    assert registry.get("fusion", "mine").load() is Mine
    assert registry.get("fusion", "path").load() is __import__("decimal").Decimal


def test_the_class_is_imported_on_load_and_only_once(registry, plugin_folder, monkeypatch):
    (plugin_folder / "imported_late.py").write_text("class A:\n    pass\n")
    entry = registry.register("fusion", "late", "imported_late:A")
    assert "imported_late" not in sys.modules
    first = entry.load()
    monkeypatch.delitem(sys.modules, "imported_late")
    assert entry.load() is first


def test_an_unknown_name_lists_and_suggests(registry):
    registry.register("fusion", "other", Mine)
    with pytest.raises(PluginError) as error:
        registry.get("fusion", "mien")
    assert str(error.value) == (
        "unknown fusion 'mien'; available: mine, other; did you mean 'mine'?"
    )


def test_names_of_another_kind_do_not_count(registry):
    with pytest.raises(PluginError, match="unknown head 'mine'; available: none"):
        registry.get("head", "mine")


def test_a_conflict_is_described_and_refused(registry):
    registry.register("fusion", "mine", Bare, package="package_b", version="2.0")
    assert [row["status"] for row in registry.describe()] == [
        "conflict with package_b",
        "conflict with package_a",
    ]
    with pytest.raises(PluginError, match=r"registered by package_a 1\.0 and package_b 2\.0"):
        registry.get("fusion", "mine")


def test_code_needs_permission(registry):
    with pytest.raises(PluginError, match="--allow-code"):
        registry.get("fusion", "decimal:Decimal")
    entry = registry.get("fusion", "decimal:Decimal", allow_code=True)
    assert entry.load().__name__ == "Decimal"
    with pytest.raises(PluginError, match="neither a registered name nor"):
        registry.get("fusion", "decimal:", allow_code=True)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("import no_such_package.inner", MissingDependency, "pip install 'no_such_package'"),
        ("raise OSError('libfoo.so is missing\\nmore')", PluginError, "OSError: libfoo.so"),
        ("x = 1", PluginError, "has no attribute 'A'"),
    ],
)
def test_code_that_fails_is_one_sentence(registry, plugin_folder, text, kind, message):
    (plugin_folder / "fails.py").write_text(text)
    entry = registry.register("encoder", "e", "fails:A", package="fails", version="0.1")
    with pytest.raises(kind) as error:
        entry.load()
    assert str(error.value).startswith("encoder 'e' (fails 0.1) ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_target_that_does_not_exist(registry):
    entry = registry.register("encoder", "e", "no_such_package.encoder:A")
    with pytest.raises(PluginError, match=r"no module 'no_such_package' in the current folder"):
        entry.load()


def test_verify_imports_and_holds_against_the_contract(registry):
    registry.register("head", "bare", Bare)
    registry.register("head", "gone", "decimal:Gone")
    registry.register("head", "other", Mine)
    registry.register("fusion", "function", "decimal:getcontext")
    registry.register("source", "half", HalfASource, package="pack", version="2")
    registry.register("weights", "w", Bare)
    status = {row["name"]: row["status"] for row in registry.describe(verify=True)}
    assert status["mine"] == status["w"] == "ok"
    assert "has no `Config`" in status["bare"]
    assert "AttributeError" in status["gone"]
    assert status["other"].startswith("head 'other' is no head: ")
    assert status["other"].endswith("must be a class that inherits from mmadapt.Head")
    assert "inherits from mmadapt.Fusion" in status["function"]
    assert status["half"].startswith("source 'half' (pack 2) is incomplete: ")
    assert status["half"].endswith("lacks __getitem__")


def test_describe_rows_and_kinds(registry):
    registry.register("head", "h", Mine)
    assert registry.describe("fusion") == [
        {
            "kind": "fusion",
            "name": "mine",
            "summary": "a fusion",
            "package": "package_a",
            "version": "1.0",
            "status": "ok",
        }
    ]
    with pytest.raises(PluginError, match=", ".join(KINDS)):
        registry.get("fusions", "mine")
