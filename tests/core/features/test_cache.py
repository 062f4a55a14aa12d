"""The cache between a dataset and a model: the world's media as real files."""

import itertools

import pytest
import torch

from mmadapt.composition import compose
from mmadapt.contracts import StreamedSource
from mmadapt.data.cache import MemoryCache
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.features.folder import sets_in
from mmadapt.data.items import Item
from mmadapt.data.loader import batches
from mmadapt.data.streamed import StreamedDataset
from mmadapt.data.views import InMemory
from mmadapt.features.cache import feature_cache
from mmadapt.features.memory import FeatureMemory
from tests import world


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder where every path of the world is a file."""
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    world.write_media(tmp_path, range(24))
    return tmp_path


class Run:
    """A model with its cache, as one process has it."""

    def __init__(self, lm, **blocks):
        blocks.setdefault("data", {"cache": True})
        torch.manual_seed(0)
        self.model = compose(world.recipe(lm, **blocks), allow_code=True)
        self.disk = feature_cache(self.model, self.model.recipe)
        self.cache = MemoryCache(10**6, self.disk.reader)
        self.memory = FeatureMemory(self.model, 10**6, self.disk)

    def dataset(self, source=None, **options):
        return MediaDataset(
            source or world.ColourSource(world.ColourConfig()),
            self.model.head,
            self.model.require_tokenizer(),
            self.model.processors,
            training=True,
            cache=self.cache,
            **options,
        )

    def loss(self, indices, source=None, **options):
        """The loss of a batch, and the paths that were read for it."""
        world.CALLS.clear()
        dataset = self.dataset(source, **options)
        items = [dataset[index] for index in indices]
        assert all(isinstance(item, Item) for item in items), items
        batch = Collator(0)(items)
        batch.pop("failed", None)
        with self.memory.used():
            return self.model(**batch).loss.item(), list(world.CALLS)


def plain(lm, indices, **blocks):
    run = Run(lm, **blocks)
    run.cache.features = None
    return run.loss(indices)[0]


def test_a_second_process_decodes_and_encodes_nothing(lm, place, monkeypatch):
    expected = plain(lm, [0, 1, 2, 3])
    first, read = Run(lm).loss([0, 1, 2, 3])
    assert first == expected and len(read) == 4
    later = Run(lm)
    monkeypatch.setattr(later.model.encoders["image"], "forward", None)
    second, read = later.loss([0, 1, 2, 3])
    assert second == expected and read == []
    assert later.loss([3, 1])[1] == []


def test_only_what_is_new_is_encoded(lm, place):
    Run(lm).loss([0, 1, 2, 3])
    run = Run(lm)
    mixed, read = run.loss([1, 5, 0, 6])
    assert sorted(read) == ["c1/5", "c2/6"]
    assert mixed == pytest.approx(plain(lm, [1, 5, 0, 6]), abs=1e-6)


def test_a_copy_of_a_file_is_known_and_a_changed_file_is_not(lm, place):
    Run(lm).loss([0, 1])
    (place / "c0" / "8").write_bytes((place / "c0" / "0").read_bytes())
    (place / "c1" / "1").write_text("something else")
    _, read = Run(lm).loss([8, 1])
    assert read == ["c1/1"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_smaller_type_gives_the_same_loss_from_the_first_epoch_on(lm, place, dtype):
    blocks = {"data": {"cache": True, "cache_dtype": dtype}}
    first, _ = Run(lm, **blocks).loss([0, 1, 2])
    second, read = Run(lm, **blocks).loss([0, 1, 2])
    assert first == second and read == []
    exact = plain(lm, [0, 1, 2])
    assert first != exact and first == pytest.approx(exact, rel=1e-2)
    assert len(sets_in(place / "cache" / "features")) == 2  # `plain` opened one


def test_samples_without_media_and_with_several_files(lm, place):
    class Several(world.ColourSource):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            parts = [{"type": "image", "path": f"c{n}/{n}"} for n in range(index % 4)]
            return {**sample, "media": parts}

    source = Several(world.ColourConfig())
    first, read = Run(lm).loss([0, 1, 2, 3], source)
    second, again = Run(lm).loss([0, 1, 2, 3], source)
    assert first == second and read and again == []
    assert Run(lm).loss([0, 4], source)[1] == []


def test_bytes_in_a_source_are_named_by_their_content(lm, place, monkeypatch):
    sample = world.ColourSource(world.ColourConfig())[1]
    monkeypatch.setattr(
        world.ColourProcessor, "__call__", lambda self, media, rng=None: torch.ones(1, 5, 8)
    )
    source = InMemory([{**sample, "media": [{"type": "image", "value": b"bytes"}]}])
    first, _ = Run(lm).loss([0], source)
    later = Run(lm)
    monkeypatch.setattr(later.model.encoders["image"], "forward", None)
    assert later.loss([0], source)[0] == first


def test_blank_media_come_from_nowhere(lm, place):
    Run(lm).loss([0, 1])
    run = Run(lm)
    blank, _ = run.loss([0, 1], media="blank")
    assert blank != run.loss([0, 1])[0]
    assert run.loss([0, 1], media="removed")[1] == []


def test_unreadable_media_are_told_as_ever(lm, place):
    (place / "bad").mkdir()
    (place / "bad" / "1").write_text("damaged")
    run = Run(lm)
    source = world.ColourSource(world.ColourConfig(bad=[1, 2]))
    for index in (1, 2):  # one that is there, one that is missing
        failed = run.dataset(source)[index]
        assert failed.kind == "unreadable" and f"bad/{index}" in str(failed.error)


def test_a_damaged_entry_is_made_again(lm, place, capsys):
    expected, _ = Run(lm).loss([0, 1, 2])
    paths = sorted((place / "cache").rglob("*.safetensors"))
    assert len(paths) == 3
    content = bytearray(paths[1].read_bytes())
    content[-5] ^= 1
    paths[1].write_bytes(content)
    again, read = Run(lm).loss([0, 1, 2])
    assert again == pytest.approx(expected, abs=1e-6) and len(read) == 1
    assert str(paths[1]) in capsys.readouterr().err
    assert Run(lm).loss([0, 1, 2])[1] == []


def test_a_store_that_is_full_costs_speed_only(lm, place, capsys):
    blocks = {"data": {"cache": True, "cache_gib": 1e-9}}
    for _ in range(2):
        found, read = Run(lm, **blocks).loss([0, 1, 2])
        assert found == plain(lm, [0, 1, 2]) and len(read) == 3
    assert not list((place / "cache").rglob("*.safetensors"))
    assert capsys.readouterr().err.count("feature cache:") == 2


def test_what_a_set_is_made_from_is_in_its_name(lm, place, monkeypatch):
    def names():
        return {one.name for one in sets_in(place / "cache" / "features")}

    Run(lm)
    one = names()
    Run(lm, fusion={"use": "tests.toy:EverySite", "sites": ["mlp_input"]})
    assert names() == one  # this fusion keeps everything, whatever its options
    run = Run(lm, data={"cache": True, "cache_dtype": "bfloat16"})
    assert len(names()) == 2
    with torch.no_grad():
        next(run.model.encoders["image"].parameters()).view(-1)[0] += 1e-6
    feature_cache(run.model, run.model.recipe)
    assert len(names()) == 3
    run.model.encoders["image"].processor.noise = True
    feature_cache(run.model, run.model.recipe)
    assert len(names()) == 4


def test_mixed_precision_has_a_set_of_its_own(lm, place):
    run = Run(lm, train={"bf16": True})
    with torch.autocast("cpu", torch.bfloat16):
        run.loss([0, 1])
        assert run.loss([0, 1])[1] == []
    item = run.dataset()._cached({"id": "s", "media": [{"type": "image", "path": "c0/0"}]})[0]
    assert item.rows is not None
    other = run.disk.reader.known(
        [{"type": "image", "path": "c0/0"}], {"image": "image"}, training=False
    )
    assert other[0].rows is None


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_workers_find_what_is_there(lm, place, workers):
    def losses(run):
        found = []
        with run.memory.used():
            for _, batch in batches(run.dataset(), 5, with_labels=True, workers=workers):
                assert "failed" not in batch
                found.append((run.model(**batch).loss.item(), "values" in batch["media"]["image"]))
        return found

    first, second = losses(Run(lm)), losses(Run(lm))
    assert [encoded for _, encoded in first] == [True] * 5
    assert [encoded for _, encoded in second] == [False] * 5
    assert [loss for loss, _ in second] == [loss for loss, _ in first]


def test_streamed_samples_come_from_the_cache_too(lm, place, monkeypatch):
    class Stream(StreamedSource):
        shards = ("one", "two")

        def read(self, shard):
            yield from range(12 * shard, 12 * shard + 12)

        def sample(self, record):
            return world.ColourSource(world.ColourConfig())[record]

    def loss(run):
        world.CALLS.clear()
        dataset = StreamedDataset(
            Stream(None),
            run.model.head,
            run.model.require_tokenizer(),
            run.model.processors,
            training=True,
            cache=run.cache,
        )
        batch = Collator(0)(list(itertools.islice(dataset, 6)))
        batch.pop("marks")
        with run.memory.used():
            return run.model(**batch).loss.item(), len(world.CALLS)

    first, read = loss(Run(lm))
    assert read == 6 and loss(Run(lm)) == (first, 0)
