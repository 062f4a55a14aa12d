"""Streamed Hugging Face datasets and WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from traceback import clear_frames

import pytest
from PIL import Image

from mmadapt.checking.dry_run import dry_run
from mmadapt.errors import DataError, RecipeError
from mmadapt.evaluate import evaluate_adapter
from mmadapt.recipe import load_recipe
from mmadapt.testing import StreamedSourceContract
from mmadapt.train import train
from mmadapt_datasets import checked
from mmadapt_datasets.webdataset import WebdatasetConfig, WebdatasetSource
from mmadapt_datasets.webdataset_stream import WebdatasetStream

datasets = pytest.importorskip("datasets")
from mmadapt_datasets.hf import HfConfig, HfSource
from mmadapt_datasets.hf_stream import HfStream

COLOURS = ["red", "green", "blue", "white"]
COLUMNS = {"image": "image", "target": "said"}
WEB = {"image": "png", "target": "txt"}


def png(colour):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def rows(start, stop):
    chosen = [COLOURS[k % 4] for k in range(start, stop)]
    return {
        "image": [{"bytes": png(colour), "path": None} for colour in chosen],
        "said": [f"a {colour} square" for colour in chosen],
        "key": [f"k{k}" for k in range(start, stop)],
    }


def table(start, stop, texts_only=False):
    made = datasets.Dataset.from_dict(rows(start, stop))
    return made.remove_columns("image") if texts_only else made


def write_rows(folder, form, shards=3, count=4):
    """A folder of files, `count` rows each; its `hf` options."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = COLUMNS if form != "jsonl" else {"target": "said"}
    for n in range(shards):
        part = table(n * count, (n + 1) * count, form == "jsonl")
        path = folder / f"train-{n:05d}-of-{shards:05d}.{form}"
        if form == "parquet":
            part.cast_column("image", datasets.Image()).to_parquet(path)
        elif form == "arrow":
            part.save_to_disk(folder / "tmp")
            (folder / "tmp" / "data-00000-of-00001.arrow").rename(path)
        else:
            part.to_json(path)
    if (folder / "tmp").is_dir():
        for file in (folder / "tmp").iterdir():
            file.unlink()
        (folder / "tmp").rmdir()
    return {"path": str(folder), "columns": columns}


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_shards(folder, shards=3, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(shards):
        members = []
        for k in range(n * count, (n + 1) * count):
            colour = COLOURS[k % 4]
            members += [(f"s{k:03d}.png", png(colour))]
            members += [(f"s{k:03d}.txt", f"a {colour} square".encode())]
        write_tar(folder / f"train-{n}.tar", members)
    return {"shards": str(folder / "train-*.tar"), "columns": WEB}


@pytest.mark.parametrize("form", ["parquet", "arrow", "jsonl"])
def test_rows_are_those_of_the_dataset_that_is_not_streamed(tmp_path, form):
    options = write_rows(tmp_path / "data", form)
    options["columns"] = {**options["columns"], "id": "key"}
    whole = HfSource(HfConfig(**options))
    stream = HfSource.build(HfConfig(**options, streaming=True))
    assert isinstance(stream, HfStream)
    assert [name.rpartition("/")[2] for name in stream.shards] == [
        f"train-0000{n}-of-00003.{form}" for n in range(3)
    ]
    assert [{**s, "origin": ""} for s in stream] == [{**s, "origin": ""} for s in whole]
    second = next(iter(stream.read(1)))
    assert stream.sample(second)["id"] == "k4"
    limited = HfSource.build(HfConfig(**options, streaming=True, limit=6))
    assert [s["id"] for s in limited] == ["k0", "k1", "k2", "k3", "k4", "k5"]
    assert len(limited.shards) == 1


def test_a_single_file_and_a_saved_dataset_stream_too(tmp_path):
    table(0, 5).save_to_disk(tmp_path / "saved")
    table(0, 5).to_parquet(tmp_path / "one.parquet")
    for path in (tmp_path / "saved", tmp_path / "one.parquet"):
        config = HfConfig(path=str(path), columns={"target": "said"}, streaming=True)
        found = list(HfSource.build(config))
        assert [s["id"] for s in found] == ["0", "1", "2", "3", "4"]
        assert [s["target"] for s in found] == table(0, 5)["said"][:]


def test_samples_of_shards_are_those_that_are_not_streamed(tmp_path):
    options = write_shards(tmp_path / "data")
    stream = WebdatasetSource.build(WebdatasetConfig(**options, streaming=True))
    assert isinstance(stream, WebdatasetStream) and len(stream.shards) == 3
    assert list(stream) == list(WebdatasetSource(WebdatasetConfig(**options)))
    limited = WebdatasetSource.build(WebdatasetConfig(**options, streaming=True, limit=6))
    assert [s["id"] for s in limited] == [f"s{k:03d}" for k in range(6)]


def test_a_preview_reads_no_more_than_it_shows(tmp_path, monkeypatch):
    options = write_rows(tmp_path / "data", "parquet", shards=2, count=300)
    seen = []
    sample = HfStream.sample
    monkeypatch.setattr(HfStream, "sample", lambda self, r: seen.append(r) or sample(self, r))
    report = dry_run(load_recipe(recipe("hf", options)))
    assert len(report.previews) == 3 and "[a red square" in report.previews[0]
    assert len(seen) == 3 and {row.shard for row in seen} == {0}


def recipe(use, options, test=None, name="streamed", **blocks):
    part = {"use": use, "streaming": True, **options}
    made = {
        "name": name,
        "lm": {"model": "embedded:lm"},
        "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
        "fusion": {"use": "epalm", "levels": 2},
        "head": {"use": "caption", "prompt": "a picture of"},
        "data": {"train": part, "validation": part, "test": test or part},
        "train": {"max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 0.01},
        "evaluate": {"metrics": ["exact_match"], "generate": {"max_new_tokens": 3}},
    }
    for key, block in blocks.items():
        merged = {**made[key], **block}
        made[key] = {name: value for name, value in merged.items() if value is not None}
    return made


@pytest.mark.parametrize("use", ["hf", "webdataset"])
def test_streams_train_validate_and_evaluate(tmp_path, use):
    write = write_shards if use == "webdataset" else lambda f: write_rows(f, "parquet")
    options = write(tmp_path / "data")
    blocks = {"evaluate": {"blind": ["removed", "swapped", "trained"]}}
    result = train(recipe(use, options, **blocks), tmp_path / "run", quiet=True)
    assert result["steps"] == 4 and result["failed"] == []
    assert {"metrics", "blind", "blind_swapped", "blind_trained"} <= result.keys()
    again = evaluate_adapter(tmp_path / "run", ["data.test.streaming=false"])
    scored = [(p["answer"], p["references"]) for p in result["predictions"]]
    assert scored == [(p["answer"], p["references"]) for p in again["predictions"]]
    assert len(scored) == 12 and again["metrics"] == result["metrics"]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [r["epoch"] for r in log if "loss" in r] == [0.25, 0.5, 0.75, 1.0]


def test_streamed_and_other_sources_mix_by_weight(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"image": null, "caption": "hello"}\n' * 3)
    parts = [
        {"use": "webdataset", "streaming": True, **write_shards(tmp_path / "web")},
        {"use": "hf", "streaming": True, **write_rows(tmp_path / "hf", "parquet")},
        {"use": "jsonl", "path": str(tmp_path / "t.jsonl")},
    ]
    weighted = [{**part, "weight": 1.0} for part in parts]
    made = recipe("hf", write_rows(tmp_path / "hf", "parquet"))
    made["data"] = {"train": weighted, "test": parts[0]}
    assert train(made, tmp_path / "run", quiet=True)["steps"] == 4
    made["data"]["train"] = parts
    with pytest.raises(RecipeError, match="give every source a weight"):
        train(made, tmp_path / "other", quiet=True)


REFUSED = [
    ({"max_steps": None}, "train.max_steps is missing: data.train is streamed"),
    ({"train_sampling_strategy": "group_by_length"}, "use random or sequential"),
    ({"eval_strategy": "epoch", "save_strategy": "epoch"}, "use steps"),
]


@pytest.mark.parametrize(("keys", "told"), REFUSED)
def test_what_a_stream_cannot_do_is_told_by_train_and_check(tmp_path, keys, told):
    made = recipe("webdataset", write_shards(tmp_path / "data"), train=keys)
    with pytest.raises(RecipeError, match=told):
        train(made, tmp_path / "run", quiet=True)
    with pytest.raises(RecipeError, match=told):
        dry_run(load_recipe(made))


def test_a_slice_of_a_split_cannot_be_streamed(tmp_path):
    options = write_rows(tmp_path / "data", "parquet")
    with pytest.raises(DataError, match=r"Bad split: train\[:50%\]"):
        HfSource.build(HfConfig(**options, streaming=True, split="train[:50%]"))


def reading(use, options):
    source = {"hf": HfSource, "webdataset": WebdatasetSource}[use]
    return list(source.build(source.Config(**options, streaming=True)))


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def damaged_tar(folder, members):
    write_tar(folder / "train-1.tar", members)


TARS = [
    (lambda f: cut(f / "train-1.tar", 0.4), ["train-1.tar", "damaged"]),
    (lambda f: (f / "train-1.tar").write_bytes(b"no tar"), ["train-1.tar", "not a tar file"]),
    (lambda f: damaged_tar(f, [("x.png", png("red"))]), ["train-1.tar:x", "no column 'txt'"]),
    (lambda f: damaged_tar(f, [("x.txt", b"\xff"), ("x.png", b"")]), ["train-1.tar:x", "damaged"]),
    (lambda f: damaged_tar(f, [("x.txt", b""), ("x.png", b"a")]), ["train-1.tar:x", "is empty"]),
    (
        lambda f: damaged_tar(f, [(n, b"a") for n in ("x.txt", "x.png", "y.txt", "y.png", "x.c")]),
        ["train-1.tar:x", "do not stand together", "leave out"],
    ),
    (lambda f: damaged_tar(f, [("x.txt", b"a"), ("x.TXT", b"b")]), ["train-1.tar:x.txt", "twice"]),
]


@pytest.mark.parametrize("case", range(len(TARS)))
def test_a_damaged_shard_is_one_error_with_shard_and_record(tmp_path, case):
    spoil, words = TARS[case]
    options = write_shards(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        reading("webdataset", options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def lines(folder, *more):
    path = folder / "train-00001-of-00003.jsonl"
    path.write_text(path.read_text() + "".join(line + "\n" for line in more))


JSON = [
    (lambda f: lines(f, '{"said": "a", "key": "k"}', '{"sa'), ["00001-of-00003.jsonl:6", "JSON"]),
    (lambda f: lines(f, '{"said": "", "key": "k"}'), ["jsonl:row 4", "'said' is empty"]),
    (lambda f: lines(f, '{"key": "k"}'), ["jsonl:row 4", "'said' must be text, not null"]),
]


@pytest.mark.parametrize("case", range(len(JSON)))
def test_a_damaged_row_is_one_error_with_file_and_record(tmp_path, case, capfd):
    spoil, words = JSON[case]
    options = write_rows(tmp_path / "data", "jsonl")
    spoil(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        reading("hf", options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "Failed to" not in capfd.readouterr().err


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("shard", "line"), [(0, 1), (1, 5)])
def test_a_line_of_null_is_an_error_and_ends_no_process(tmp_path, streaming, shard, line):
    options = write_rows(tmp_path / "data", "jsonl")
    path = tmp_path / "data" / f"train-0000{shard}-of-00003.jsonl"
    path.write_text("null\n" + path.read_text() if line == 1 else path.read_text() + "null\n")
    with pytest.raises(DataError, match=rf"{path.name}:{line}: is null, not an object"):
        list(HfSource.build(HfConfig(**options, streaming=streaming)))


def test_of_a_huge_file_the_beginning_is_looked_into(tmp_path, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n' * 3 + "null\n")
    with pytest.raises(DataError, match=r"a.jsonl:4: is null"):
        checked.check_file(file)
    monkeypatch.setattr(checked, "MAX_BYTES", 30)
    checked.check_file(file)


def test_a_damaged_parquet_file_names_itself(tmp_path):
    options = write_rows(tmp_path / "data", "parquet")
    cut(tmp_path / "data" / "train-00001-of-00003.parquet", 0.5)
    with pytest.raises(DataError, match=r"train-00001-of-00003.parquet:row 0 or later"):
        reading("hf", options)


def test_a_missing_column_names_itself(tmp_path):
    options = write_rows(tmp_path / "data", "parquet")
    options["columns"] = {"target": "sad"}
    with pytest.raises(DataError, match=r"row 0: has no column 'sad'.*did you mean 'said'"):
        reading("hf", options)


@pytest.mark.parametrize("use", ["hf", "webdataset"])
def test_a_damaged_record_ends_training_with_the_same_error(tmp_path, use):
    if use == "hf":
        options = write_rows(tmp_path / "data", "jsonl")
        lines(tmp_path / "data", '{"said": "", "key": "k"}')
    else:
        options = write_shards(tmp_path / "data")
        damaged_tar(tmp_path / "data", [("x.png", png("red"))])
    made = recipe(use, options, test={"use": "jsonl", "path": str(tmp_path / "t.jsonl")})
    (tmp_path / "t.jsonl").write_text('{"image": null, "caption": "a"}\n')
    made["train"] |= {"max_steps": 12, "dataloader_num_workers": 2}
    del made["data"]["validation"]
    with pytest.raises(DataError, match=r"is empty|no column 'txt'") as caught:
        train(made, tmp_path / "run", quiet=True)
    assert str(caught.value).count("\n") == 0
    clear_frames(caught.tb)  # ends the loader's workers; the garbage collector takes 5 s for each


def test_an_unreadable_picture_is_named_and_passed_over(tmp_path):
    options = write_shards(tmp_path / "data")
    damaged_tar(tmp_path / "data", [("x.txt", b"a red square"), ("x.png", b"no picture")])
    made = recipe("webdataset", options, data={"max_bad_share": 0.5})
    made["train"] |= {"max_steps": 9, "train_sampling_strategy": "sequential"}
    result = train(made, tmp_path / "run", quiet=True)
    bad = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").open()]
    assert len(bad) == 1 and bad[0]["id"] == "x" and "train-1.tar" in bad[0]["file"]
    assert result["skipped_samples"] == ["x"] and result["data"]["train"]["unreadable_files"] == 1
    made["data"]["max_bad_share"] = 0.0
    with pytest.raises(DataError, match=r"1 of 18 samples cannot be read.*max_bad_share"):
        train(made, tmp_path / "other", quiet=True)


def test_reading_holds_no_more_than_a_table_in_memory(tmp_path):
    """Ten times the rows take no more memory."""

    def peak(count):
        options = write_rows(tmp_path / str(count), "parquet", shards=4, count=count)
        tracemalloc.start()
        for _ in HfSource.build(HfConfig(**options, streaming=True)):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(64)  # what is imported on the way
    assert peak(640) < 2 * peak(64) + 2**20


class TestWebdatasetStream(StreamedSourceContract):
    source = WebdatasetSource

    def config(self):
        return WebdatasetConfig(**write_shards(self.folder), streaming=True)

    def damaged(self):
        config = self.config()
        damaged_tar(self.folder, [("y.png", png("red"))])
        return config, ["train-1.tar", "y"]


class TestHfStream(StreamedSourceContract):
    source = HfSource

    def config(self):
        return HfConfig(**write_rows(self.folder / "data", "parquet"), streaming=True)

    def damaged(self):
        options = write_rows(self.folder / "bad", "jsonl")
        lines(self.folder / "bad", '{"said": "", "key": "k"}')
        return HfConfig(**options, streaming=True), ["train-00001-of-00003.jsonl", "row 4"]
