import pytest

from mmadapt.errors import PluginError
from mmadapt.plugins import discover
from mmadapt.registry import get_registry
from tests.core.fake_plugins import write_plugin


@pytest.fixture
def only(monkeypatch):
    """Look at these packages only."""
    return lambda *names: monkeypatch.setenv("MMADAPT_PLUGINS", ",".join(names))


def broken(discovery):
    return {plugin.name: plugin.error for plugin in discovery.plugins if plugin.error}


def test_a_plugin_is_found_with_its_package_and_version(plugin_folder, only):
    write_plugin(plugin_folder, "good_plugin", version="3.1")
    only("good_plugin")
    [found] = discover().registrations
    assert (found.kind, found.name) == ("fusion", "mine")
    assert found.target == "good_plugin.code:Mine"
    assert (found.plugin.package, found.plugin.version) == ("good_plugin", "3.1")


def test_listing_does_not_import_the_code(plugin_folder, only):
    write_plugin(plugin_folder, "lazy_plugin", code="raise RuntimeError('imported')")
    only("lazy_plugin")
    assert [row["status"] for row in get_registry().describe()] == ["ok"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError:"),
    ],
)
def test_a_broken_plugin_is_recorded_and_the_others_load(plugin_folder, only, text, error):
    write_plugin(plugin_folder, "a_broken", plugin=text)
    write_plugin(plugin_folder, "b_good")
    only("a_broken", "b_good")
    discovery = discover()
    assert broken(discovery)["a_broken"].startswith(error)
    assert "\n" not in broken(discovery)["a_broken"]
    assert [found.plugin.package for found in discovery.registrations] == ["b_good"]


def test_each_plugin_announces_its_own_names_once(plugin_folder, only):
    write_plugin(plugin_folder, "pack_a", name="one")
    write_plugin(plugin_folder, "pack_b", name="two")
    only("pack_a", "pack_b")
    found = discover().registrations
    assert [(item.name, item.plugin.package) for item in found] == [
        ("one", "pack_a"),
        ("two", "pack_b"),
    ]


HALF = """
from mmadapt.hookspecs import hookimpl

@hookimpl
def register_fusions(register):
    register("one", "half.code:Mine", "")
    {second}
"""


@pytest.mark.parametrize(
    ("second", "error"),
    [
        ("raise KeyError('oops')", "KeyError: 'oops'"),
        ("register('two words', 'half.code:Mine', '')", "PluginError: the name 'two words'"),
        ("register('two', 'half.code', '')", "PluginError: the target of 'two' is 'half.code'"),
    ],
)
def test_a_plugin_that_fails_half_way_announces_nothing(plugin_folder, only, second, error):
    write_plugin(plugin_folder, "half", plugin=HALF.replace("{second}", second))
    only("half")
    discovery = discover()
    assert discovery.registrations == []
    assert broken(discovery)["half"].startswith(error)


def test_a_misspelt_hook_is_told(plugin_folder, only):
    text = HALF.replace("register_fusions", "register_fusion").replace("{second}", "")
    write_plugin(plugin_folder, "misspelt", plugin=text)
    only("misspelt")
    assert "register_fusion" in broken(discover())["misspelt"]


def test_two_entry_points_of_one_module_announce_once(plugin_folder, only):
    points = "one = twice.plugin\ntwo = twice.plugin\n"
    write_plugin(plugin_folder, "twice", points=points)
    only("twice")
    assert len(discover().registrations) == 1


def test_selection_by_package_distribution_or_entry_point(plugin_folder, only):
    write_plugin(plugin_folder, "first_one", points="uno = first_one.plugin\n")
    write_plugin(plugin_folder, "second_one")
    for word in ("first_one", "First-One", "uno", " uno , "):
        only(word)
        assert [plugin.package for plugin in discover().plugins] == ["first_one"]
    only("")
    assert discover().plugins == []


def test_a_selection_that_is_not_installed_is_an_error(plugin_folder, only):
    write_plugin(plugin_folder, "present")
    only("present", "absent")
    with pytest.raises(PluginError, match=r"MMADAPT_PLUGINS names 'absent'.*present"):
        discover()


def test_tracing_prints_what_is_loaded_from_where(plugin_folder, only, monkeypatch, capsys):
    write_plugin(plugin_folder, "good")
    write_plugin(plugin_folder, "torn", plugin="import no_such_module")
    only("good", "torn")
    get_registry().get("fusion", "mine").load()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MMADAPT_TRACE_PLUGINS", "1")
    get_registry.cache_clear()
    get_registry().get("fusion", "mine").load()
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("mmadapt plugins: ") for line in lines] == [
        "load good = good.plugin (good 1.2)",
        f"from {plugin_folder}/good/plugin.py",
        "register_fusions -> good:good",
        "fusion 'mine' = good.code:Mine",
        "load torn = torn.plugin (torn 1.2)",
        "broken torn: ModuleNotFoundError: No module named 'no_such_module'",
        f"import good.code:Mine for fusion 'mine' (good 1.2) from {plugin_folder}/good/code.py",
    ]


def test_what_a_plugin_prints_is_no_output_of_ours(plugin_folder, only, capsys):
    write_plugin(plugin_folder, "loud", plugin="print('welcome')")
    only("loud")
    discover()
    assert capsys.readouterr() == ("", "welcome\n")


def test_a_package_with_damaged_metadata_is_still_told_apart(plugin_folder, only):
    write_plugin(plugin_folder, "bare")
    (plugin_folder / "bare-1.2.dist-info" / "METADATA").write_text("")
    only("bare")
    [plugin] = discover().plugins
    assert (plugin.distribution, plugin.version, plugin.error) == ("bare", "0", None)


def test_a_broken_plugin_is_fatal_only_for_names_nobody_announces(plugin_folder, only):
    write_plugin(plugin_folder, "a_broken", plugin="import no_such_module")
    write_plugin(plugin_folder, "b_good")
    only("a_broken", "b_good")
    registry = get_registry()
    assert registry.get("fusion", "mine").package == "b_good"
    with pytest.raises(PluginError, match=r"the plugin a_broken did not load \(ModuleNotFound"):
        registry.get("fusion", "theirs")
    with pytest.raises(PluginError, match="MMADAPT_PLUGINS allows only 'a_broken,b_good'"):
        registry.get("fusion", "theirs")


def test_a_name_claimed_twice_names_both_packages(plugin_folder, only):
    write_plugin(plugin_folder, "claim_a", version="1.0")
    write_plugin(plugin_folder, "claim_b", version="2.0")
    only("claim_a", "claim_b")
    with pytest.raises(PluginError, match=r"by claim_a 1\.0 and claim_b 2\.0"):
        get_registry().get("fusion", "mine")
