import pytest

from mmadapt.bench import epochs
from mmadapt.bench.epochs import ALONE, CACHED, FILLING, PLAIN, bench_cache, epoch_table
from mmadapt.errors import RecipeError
from mmadapt.features.resting import RestingEncoder
from mmadapt.recipe import load_and_resolve
from tests import world


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A world of real files, whose recipe reads eight of them."""
    lm = world.save_lm(tmp_path / "lm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path / "cache"))
    world.write_media(tmp_path, range(8))

    def resolved(**blocks):
        blocks.setdefault("train", {"per_device_train_batch_size": 4})
        return load_and_resolve(world.recipe(lm, **blocks), allow_code=True)

    return resolved


def test_each_way_does_what_its_name_says(recipe, tmp_path, monkeypatch):
    world.CALLS.clear()
    calls = []
    encode = world.ColourEncoder.forward

    def counted(self, inputs, levels):
        calls.append(len(inputs["values"]))
        return encode(self, inputs, levels)

    monkeypatch.setattr(world.ColourEncoder, "forward", counted)
    rows = bench_cache(recipe(), steps=2, rounds=3, allow_code=True, progress=False)
    assert [row.name for row in rows] == [ALONE, CACHED, PLAIN, FILLING]
    # Once to fill, then without a cache and filling a new one in every round.
    assert len(world.CALLS) == 8 * (1 + 2 * 3) and sum(calls) == 8 * (1 + 2 * 3)
    by_name = {row.name: row for row in rows}
    assert by_name[ALONE].ratio_to_alone == by_name[PLAIN].ratio_to_plain == 1.0
    assert all(row.step_seconds > 0 for row in rows)
    assert len(epoch_table(rows).splitlines()) == 5
    assert not (tmp_path / "cache").exists()


def test_encoders_leave_before_the_timed_steps(recipe, monkeypatch):
    events = []
    unused, timed = RestingEncoder.unused, epochs.seconds
    monkeypatch.setattr(
        RestingEncoder, "unused", lambda self: (events.append("unused"), unused(self))
    )
    monkeypatch.setattr(epochs, "seconds", lambda *a: (events.append("timed"), timed(*a))[1])
    bench_cache(recipe(), steps=1, rounds=1, allow_code=True, progress=False)
    away, batch = ["unused", "timed"], ["unused"]
    assert events == [*away, *batch, *away, *batch, "timed", "timed"]


def test_what_cannot_be_cached_is_refused(recipe):
    with pytest.raises(RecipeError, match="augment"):
        bench_cache(recipe(data={"augment": True}), allow_code=True, progress=False)
