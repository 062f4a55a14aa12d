import io
import json
import tarfile
import types

import huggingface_hub
import pytest
from PIL import Image

from mmadapt.errors import DataError
from mmadapt.train import train
from mmadapt_datasets import webdataset
from mmadapt_datasets.records import Record
from mmadapt_datasets.table import Files as RootedFiles
from mmadapt_datasets.webdataset import WebdatasetConfig, WebdatasetSource

datasets = pytest.importorskip("datasets")
from mmadapt_datasets.hf import HfConfig, HfSource


def png(shade=0):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def table(**columns):
    rows = {
        "picture": [{"bytes": png(k), "path": None} for k in range(3)],
        "said": [["one", "1"], ["two", "2"], ["three", "3"]],
        "question": ["a?", "b?", "c?"],
        "options": [["x", "y"]] * 3,
        "right": [0, 1, 0],
        "key": ["k0", "k1", "k2"],
        **columns,
    }
    return datasets.Dataset.from_dict(rows)


def hf(path, limit=None, split="train", **columns):
    columns = columns or {"image": "picture", "target": "said"}
    return HfSource(HfConfig(path=str(path), columns=columns, limit=limit, split=split))


@pytest.mark.parametrize("form", ["disk", "dict", "parquet", "folder", "jsonl"])
def test_forms_of_a_dataset(tmp_path, form):
    columns = {"image": "picture", "target": "said", "id": "key", "prompt": "question"}
    if form == "jsonl":
        path = tmp_path / "a.jsonl"
        table().remove_columns("picture").to_json(path)
        del columns["image"]
    elif form == "parquet":
        path = tmp_path / "a.parquet"
        table().cast_column("picture", datasets.Image()).to_parquet(path)
    elif form == "folder":
        path = tmp_path / "data"
        path.mkdir()
        table().to_parquet(path / "train-0.parquet")
    else:
        path = tmp_path / "saved"
        one = table()
        (datasets.DatasetDict(train=one) if form == "dict" else one).save_to_disk(path)
    source = hf(path, **columns)
    first = source[0]
    assert len(source) == 3 and first["id"] == "k0" and first["prompt"] == "a?"
    assert (first["target"], first["references"]) == (None, ["one", "1"])
    if form != "jsonl":
        assert first["media"] == [{"type": "image", "value": png()}]


def test_choices_and_answers(tmp_path):
    table().save_to_disk(tmp_path)
    sample = hf(tmp_path, prompt="question", choices="options", answers="right")[1]
    assert (sample["choices"], sample["answers"]) == (["x", "y"], ["y"])
    assert sample["media"] == [] and sample["id"] == "1"
    assert hf(tmp_path, answers="question")[1]["references"] == ["b?"]


def test_conversations(tmp_path):
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    table(talk=[talk] * 3).save_to_disk(tmp_path)
    assert hf(tmp_path, messages="talk")[0]["messages"] == talk


def test_what_a_table_cannot_give(tmp_path):
    table(empty=["", "", ""], wrong=[7, 7, 7]).save_to_disk(tmp_path / "a")
    with pytest.raises(DataError, match=r"no column 'pictur' \(columns.image\).*mean 'picture'"):
        hf(tmp_path / "a", image="pictur")
    for columns, says in [
        ({"target": "empty"}, "row 0: 'empty' is empty"),
        ({"image": "wrong"}, "neither encoded bytes nor the name of a file"),
        ({"image": "question"}, "'question' names the file 'a\\?', not its bytes"),
        ({"choices": "options", "answers": "wrong"}, "'wrong' is 7, but there are 2 choices"),
    ]:
        with pytest.raises(DataError, match=says):
            hf(tmp_path / "a", **columns)[0]
    with pytest.raises(DataError, match="cannot be loaded"):
        hf(tmp_path / "b")
    datasets.DatasetDict(train=table()).save_to_disk(tmp_path / "c")
    with pytest.raises(DataError, match="read by whole splits, here train"):
        hf(tmp_path / "c", split="dev")
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(DataError, match="must end in one of parquet"):
        hf(tmp_path / "d.txt")


def test_a_file_is_read_by_slices(tmp_path):
    table().remove_columns("picture").to_json(tmp_path / "a.jsonl")
    ids = [
        [sample["id"] for sample in hf(tmp_path / "a.jsonl", split=split, id="key")]
        for split in ("train[:2]", "train[2:]")
    ]
    assert ids == [["k0", "k1"], ["k2"]]
    with pytest.raises(DataError, match="cannot be loaded"):
        hf(tmp_path / "a.jsonl", split="test", id="key")


def test_files_that_rows_name_lie_below_the_root(tmp_path):
    (tmp_path / "media").mkdir()
    table(file=["a.png", "b/c.png", "../x.png"]).save_to_disk(tmp_path / "data")
    config = HfConfig(
        path=str(tmp_path / "data"), columns={"image": "file"}, root=str(tmp_path / "media")
    )
    source = HfSource(config)
    assert source[1]["media"][0]["path"] == str(tmp_path / "media" / "b/c.png")
    with pytest.raises(DataError, match=r"row 2: 'file' names .*x\.png', which leads outside"):
        source[2]


def test_limit(tmp_path):
    table().save_to_disk(tmp_path)
    assert len(hf(tmp_path, limit=2)) == 2


def shard(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def shards(path, limit=None, **columns):
    columns = columns or {"image": "png", "target": "txt"}
    return WebdatasetSource(WebdatasetConfig(shards=str(path), columns=columns, limit=limit))


def test_shards_are_read_in_place(tmp_path):
    shard(tmp_path / "a-0.tar", [("x/0.png", png(1)), ("x/0.txt", b" red \n"), ("x/1.txt", b"b")])
    fields = json.dumps({"question": "what?", "answer": "red"}).encode()
    shard(tmp_path / "a-1.tar", [("2.seg.png", png(2)), ("2.txt", b"c"), ("2.json", fields)])
    source = shards(tmp_path / "a-*.tar")
    assert source[0] == {
        "id": "x/0",
        "origin": f"{tmp_path / 'a-0.tar'}:x/0",
        "media": [{"type": "image", "value": png(1)}],
        "target": "red",
        "references": ["red"],
    }
    assert [entry.name for entry in source.entries] == ["x/0", "x/1", "2"]
    last = shards(tmp_path / "a-1.tar", image="seg.png", prompt="question", answers="answer")[0]
    assert last["prompt"] == "what?" and last["media"][0]["value"] == png(2)
    assert len(shards(tmp_path / "a-*.tar", limit=1)) == 1


def test_what_a_shard_cannot_give(tmp_path, monkeypatch):
    good = [("0.png", png()), ("0.txt", b"a")]
    shard(tmp_path / "a.tar", [*good, ("1.png", png())])
    with pytest.raises(DataError, match=r"a\.tar:1: has no column 'txt'"):
        shards(tmp_path / "a.tar")[1]
    with pytest.raises(DataError, match="matches no file"):
        shards(tmp_path / "b.tar")
    (tmp_path / "c.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match="is not a tar file"):
        shards(tmp_path / "c.tar")
    shard(tmp_path / "d.tar", [*good, ("0.txt", b"b")])
    with pytest.raises(DataError, match="stands there twice"):
        shards(tmp_path / "d.tar")
    shard(tmp_path / "e.tar", good)
    shard(tmp_path / "f.tar", good)
    with pytest.raises(DataError, match=r"f\.tar:0: stands in .*e\.tar too"):
        shards(tmp_path / "[ef].tar")
    shard(tmp_path / "g.tar", [("0.json", b"{"), ("0.png", png())])
    with pytest.raises(DataError, match=r"'.json' is damaged"):
        shards(tmp_path / "g.tar", image="png")
    shard(tmp_path / "i.tar", [*good, ("0.json", b'{"png": "/etc/passwd"}')])
    with pytest.raises(DataError, match="says 'png' twice"):
        shards(tmp_path / "i.tar")
    shard(tmp_path / "j.tar", [("0.txt", b"a"), ("0.json", b'{"png": "/etc/passwd"}')])
    with pytest.raises(DataError, match="names the file '/etc/passwd', not its bytes"):
        shards(tmp_path / "j.tar")
    shard(tmp_path / "h.tar", [])
    with pytest.raises(DataError, match="holds no samples"):
        shards(tmp_path / "h.tar")
    monkeypatch.setattr(webdataset, "MAX_MEMBER", 3)
    with pytest.raises(DataError, match="over 3 bytes"):
        shards(tmp_path / "e.tar")


def test_a_shard_cut_short(tmp_path):
    path = shard(tmp_path / "a.tar", [("0.txt", b"a"), ("0.png", bytes(5000))])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError):
        shards(path)


def test_links_and_folders_in_a_shard_are_passed_over(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("9.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, content in (("0.txt", b"a"), ("0.png", png())):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert [entry.name for entry in shards(path).entries] == ["0"]


@pytest.mark.parametrize("kind", ["hf", "webdataset"])
def test_encoded_bytes_train_and_a_damaged_row_is_named(tmp_path, kind):
    pictures = [{"bytes": data, "path": None} for data in (png(1), b"no picture", png(3))]
    if kind == "hf":
        table(picture=pictures).save_to_disk(tmp_path / "data")
        part = {"use": "hf", "path": str(tmp_path / "data")}
        part["columns"] = {"image": "picture", "target": "said", "id": "key"}
    else:
        files = [
            (f"k{n}.{kind}", data)
            for n, row in enumerate(pictures)
            for kind, data in (("png", row["bytes"]), ("txt", b"a red box"))
        ]
        part = {"use": "webdataset", "shards": str(shard(tmp_path / "a.tar", files))}
        part["columns"] = {"image": "png", "target": "txt"}
    result = train(
        {
            "name": "bytes",
            "lm": {"model": "embedded:lm"},
            "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
            "fusion": {"use": "prefix"},
            "head": {"use": "caption", "prompt": "a picture of"},
            "data": {"train": part, "test": part, "max_bad_share": 0.5},
            "train": {"max_steps": 2, "per_device_train_batch_size": 3, "learning_rate": 0.01},
            "evaluate": {"metrics": ["rouge_l"], "generate": {"max_new_tokens": 3}},
        },
        tmp_path / "run",
        quiet=True,
    )
    assert result["steps"] == 2 and [p["id"] for p in result["predictions"]] == ["k0", "k2"]
    (failed,) = result["failed"]
    place = f"{tmp_path / 'data'}:row 1 (sample k1)" if kind == "hf" else f"{tmp_path / 'a.tar'}:k1"
    assert failed["id"] == "k1" and failed["reason"].startswith(f"{place}: cannot read image")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("named", ["../out.json", "{folder}/out.json", "link.json"])
def test_a_readme_names_no_files_elsewhere(tmp_path, monkeypatch, named, streaming):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "out.json").write_text('{"said": "a secret"}\n')
    (folder / "link.json").symlink_to("../out.json")
    head = f"configs:\n- config_name: default\n  data_files: {named.format(folder=tmp_path)}\n"
    (folder / "README.md").write_text(f"---\n{head}---\n")
    config = HfConfig(path=str(folder), columns={"target": "said"}, streaming=streaming)
    with pytest.raises(DataError, match=r"README\.md: names .*, which lies outside the dataset"):
        HfSource.build(config)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "named",
    [
        "data_files: https://else.org/t.csv",
        "data_files: [{split: train, path: [s3://else/*.csv]}]",
        "data_files: [own.csv, 'zip://*.csv::http://else.org/t.zip']",
        "data_dir: http://else.org/",
    ],
)
@pytest.mark.parametrize("file", ["README.md", ".huggingface.yaml"])
def test_an_address_in_a_readme_is_never_asked(tmp_path, monkeypatch, file, named, streaming):
    (tmp_path / "own.csv").write_text("said\na\n")
    head = f"configs:\n- config_name: default\n  {named}\n"
    (tmp_path / file).write_text(f"---\n{head}---\n" if file == "README.md" else head)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: pytest.fail("asked"))
    config = HfConfig(path=str(tmp_path), columns={"target": "said"}, streaming=streaming)
    with pytest.raises(DataError, match=rf"{file}: names .*://.*, which lies outside the dataset"):
        HfSource.build(config)


@pytest.mark.parametrize(
    ("named", "is_asked"),
    [
        ("hf://datasets/org/clips/t.csv", True),
        ("t.csv", True),
        ("https://else.org/t.csv", False),
        ("hf://datasets/org/clips/t.zip::http://else.org/t", False),
    ],
)
def test_the_readme_of_a_dataset_of_the_hub_is_read_first(tmp_path, monkeypatch, named, is_asked):
    given = []

    def download(name, **options):
        given.append((name, options))
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files: {named}\n---\n")
        return str(tmp_path)

    def builder(*args, **options):
        raise DataError("builder", None, "was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    options = HfConfig(path="org/clips", revision="abc", columns={"target": "said"})
    with pytest.raises(DataError, match="was asked" if is_asked else "lies outside the dataset"):
        HfSource(options)
    cards = {"repo_type": "dataset", "revision": "abc"}
    assert given == [("org/clips", {**cards, "allow_patterns": ["README.md", ".huggingface.yaml"]})]


@pytest.mark.parametrize("place", ["hf://datasets/org/clips@abc/t.parquet", "https://else.org/t"])
def test_a_dataset_of_the_hub_is_asked_for_by_its_commit(tmp_path, monkeypatch, place):
    """Its files are those of the hub alone, and nothing is read before that is known."""
    asked = []
    config = types.SimpleNamespace(data_files={"train": [place]})

    def builder(*args, **options):
        asked.append((*args, options))
        return types.SimpleNamespace(config=config)

    def load(*args, split, **options):
        asked.append((*args, options))
        return table()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    monkeypatch.setattr(datasets, "load_dataset", load)
    options = HfConfig(path="org/clips", name="small", revision="abc", columns={"target": "said"})
    if place.startswith("https"):
        with pytest.raises(DataError, match="which lies outside the dataset"):
            HfSource(options)
        assert len(asked) == 1
    else:
        assert len(HfSource(options)) == 3
        assert asked == [("org/clips", "small", {"revision": "abc"})] * 2


def test_an_address_in_a_row_is_told(tmp_path):
    table(picture=["https://example.org/1.png"] * 3).to_json(tmp_path / "a.jsonl")
    source = hf(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"'picture' names an address .* nothing is fetched"):
        source[0]
    with pytest.raises(DataError, match="nothing is fetched"):
        RootedFiles(str(tmp_path)).path(Record(tmp_path, "1", {}), "picture", "ftp://a/b.png")


def test_a_shard_of_endless_headers_is_damaged(tmp_path):
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 3
    block = long_name.tobuf(tarfile.GNU_FORMAT) + b"ab\0".ljust(512, b"\0")
    (tmp_path / "a.tar").write_bytes(block * 3000 + bytes(1024))
    with pytest.raises(DataError, match="is not a tar file, or damaged"):
        list(webdataset.members(tmp_path / "a.tar"))
