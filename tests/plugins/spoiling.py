"""Ways to spoil a data set: what every source is given, and what its one error must name."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from mmadapt_datasets.webdataset import WebdatasetSource
from mmadapt_jsonl.source import JsonlSource
from tests.plugins.mmadapt_datasets.published import ALL, Published, write_file, write_media

IMAGE = {"use": "vit", "model": "embedded:vit"}
ENCODERS = {
    "image": IMAGE,
    "video": {"use": "vit_frames", "model": "embedded:vit", "num_frames": 2},
    "audio": {"use": "ast", "model": "embedded:ast"},
}


def jsonl() -> Published:
    records = [
        {"id": "a", "image": "media/1.png", "caption": "a red box"},
        {"id": "b", "image": "media/1.png", "captions": ["a box", "it is red"]},
        {"id": "c", "image": None, "question": "what is red?", "answer": "the box"},
    ]
    files = {"train.jsonl": records}
    return Published(
        "jsonl", JsonlSource, files, ["media/1.png"], {"path": "train.jsonl"}, ["path"]
    )


def hf_jsonl() -> Published:
    records = [{"key": k, "said": f"a {k} box", "file": "1.png"} for k in ("red", "blue", "dark")]
    return _hf("train.jsonl", records)


def hf_csv() -> Published:
    rows = [["key", "said", "file"], *([k, f"a {k} box", "1.png"] for k in ("red", "blue", "dark"))]
    return _hf("train.csv", rows)


def _hf(name: str, content: Any) -> Published:
    from mmadapt_datasets.hf import HfSource

    columns = {"image": "file", "target": "said", "id": "key"}
    options = {"path": name, "root": "media", "columns": columns}
    return Published("hf", HfSource, {name: content}, ["media/1.png"], options, ["path", "root"])


def webdataset() -> Published:
    picture = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 30)).save(picture, "PNG")
    samples = [
        {"__key__": k, "png": picture.getvalue(), "json": {"said": f"a {k} box", "number": n}}
        for n, k in enumerate(("red", "blue", "dark"))
    ]
    options = {
        "shards": "train.tar",
        "columns": {"image": "png", "target": "said", "id": "number"},
    }
    return Published(
        "webdataset", WebdatasetSource, {"train.tar": samples}, [], options, ["shards"]
    )


EVERY: dict[str, Callable[[], Published]] = {
    **ALL,
    **{make.__name__: make for make in (jsonl, hf_jsonl, hf_csv, webdataset)},
}


def rewrite(root: Path, name: str, content: Any) -> None:
    """Writes a file in the form that its name tells."""
    path = root / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in content))
    elif path.suffix == ".tar":
        with tarfile.open(path, "w") as archive:
            for sample in content:
                for extension, value in sample.items():
                    if extension != "__key__":
                        data = value if isinstance(value, bytes) else json.dumps(value).encode()
                        info = tarfile.TarInfo(f"{sample['__key__']}.{extension}")
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))
    else:
        write_file(path, content)


def written(data: Published, root: Path) -> dict[str, Any]:
    """Writes a data set and returns the part of a recipe that reads it."""
    for name, content in data.files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rewrite(root, name, content)
    for name in data.media:
        write_media(root / name)
    options = dict(data.options)
    if data.use == "scienceqa":
        options["captions"] = "captions.json"
    placed = {key: str(root / options[key]) for key in data.paths if key in options}
    return {"use": data.use, **options, **placed}


def modality(data: Published) -> str:
    """What its media are."""
    suffix = Path((data.media or ["a.png"])[0]).suffix
    return {".wav": "audio", ".mp4": "video", ".avi": "video"}.get(suffix, "image")


def recipe(data: Published, part: dict[str, Any]) -> dict[str, Any]:
    """A recipe that trains on it."""
    kind = modality(data)
    template = "{% for m in messages %}{{ m.role }} : {{ m.content }} </s> {% endfor %}"
    heads = {"llava": {"use": "chat", "chat_template": template}, "scienceqa": {"use": "choice"}}
    asked = {"vqav2": "vqa", "gqa": "vqa", "video_qa": "vqa"}
    return {
        "name": "spoilt",
        "lm": {"model": "embedded:lm"},
        "encoders": {kind: ENCODERS[kind]},
        "fusion": {"use": "epalm", "levels": 2},
        "head": heads.get(data.use, {"use": asked.get(data.use, "caption")}),
        "data": {"train": part},
        "train": {"max_steps": 1, "learning_rate": 0.01},
    }


def change(*path: Any) -> Callable[[Any], None]:
    """A change at a place: the last of `path` is the new value, or `del`."""

    def apply(content: Any) -> None:
        *places, last, value = path
        for place in places:
            content = content[place]
        if value == "del":
            del content[last]
        else:
            content[last] = value

    return apply


def again(*path: Any) -> Callable[[Any], None]:
    """The first record of a list once more, at its end."""

    def apply(content: Any) -> None:
        for place in path:
            content = content[place]
        content.append(content[1] if isinstance(content[0], list) else content[0])

    return apply
