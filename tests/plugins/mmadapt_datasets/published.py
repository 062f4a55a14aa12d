"""Small fixtures in the layouts that the datasets' authors publish; media are real but tiny."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

from mmadapt.contracts import Source
from mmadapt_datasets.audio import AudiocapsSource, ClothoSource
from mmadapt_datasets.coco import CocoSource
from mmadapt_datasets.conversations import LavinSource, LlavaSource
from mmadapt_datasets.gqa import GqaSource
from mmadapt_datasets.scienceqa import ScienceqaSource
from mmadapt_datasets.video import MsrvttSource, VideoQaSource
from mmadapt_datasets.vqav2 import Vqav2Source


@dataclass
class Published:
    """One dataset: files by name (JSON values, or CSV rows), media, and the source's options."""

    use: str
    source: type[Source]
    files: dict[str, Any]
    media: list[str]
    options: dict[str, Any]
    paths: list[str] = field(default_factory=list)  # the options that are paths

    def write(self, root: Path) -> dict[str, Any]:
        """Writes everything and returns the options with their paths below root."""
        for name, content in self.files.items():
            write_file(root / name, content)
        for name in self.media:
            write_media(root / name)
        return {
            key: str(root / value) if key in self.paths else value
            for key, value in self.options.items()
        }

    def read(self, root: Path, **options: Any) -> Source:
        """The source over the written files."""
        return self.source(self.source.Config(**(self.write(root) | options)))


def write_file(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv" and isinstance(content, list):
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        path.write_text(json.dumps(content), encoding="utf-8")


def write_media(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".jpg", ".png"):
        Image.new("RGB", (16, 16), (200, 30, 30)).save(path)
    elif path.suffix == ".wav":
        soundfile.write(path, np.sin(np.arange(1600) / 8).astype("float32"), 16000)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=4)
            stream.width = stream.height = 16
            for shade in range(4):
                frame = np.full((16, 16, 3), 60 * shade, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))


def coco() -> Published:
    name = "COCO_train2014_{:012d}.jpg"
    return Published(
        "coco",
        CocoSource,
        {
            "annotations/captions_train2014.json": {
                "info": {"year": 2014},
                "licenses": [],
                "images": [
                    {"id": 9, "file_name": name.format(9), "height": 16, "width": 16},
                    {"id": 25, "file_name": name.format(25), "height": 16, "width": 16},
                ],
                "annotations": [
                    {"image_id": 9, "id": 661611, "caption": "A red box.\n"},
                    {"image_id": 9, "id": 661977, "caption": "A box that is  red."},
                    {"image_id": 25, "id": 127076, "caption": "One giraffe."},
                ],
            }
        },
        [f"train2014/{name.format(number)}" for number in (9, 25)],
        {"annotations": "annotations/captions_train2014.json", "images": "train2014"},
        ["annotations", "images"],
    )


def karpathy() -> Published:
    def image(number: int, split: str, folder: str, *captions: str) -> dict[str, Any]:
        return {
            "filepath": folder,
            "filename": f"COCO_{folder}_{number:012d}.jpg",
            "sentids": [number * 10 + k for k in range(len(captions))],
            "imgid": number - 5,
            "cocoid": number,
            "split": split,
            "sentences": [
                {
                    "tokens": text.lower().split(),
                    "raw": text,
                    "imgid": number - 5,
                    "sentid": number * 10 + k,
                }
                for k, text in enumerate(captions)
            ],
        }

    images = [
        image(5, "train", "train2014", "A dog.", "The dog runs."),
        image(6, "restval", "val2014", "A cat."),
        image(7, "val", "val2014", "A bird."),
        image(8, "test", "val2014", "A cow."),
    ]
    return Published(
        "coco",
        CocoSource,
        {"dataset_coco.json": {"images": images, "dataset": "coco"}},
        [f"images/{i['filepath']}/{i['filename']}" for i in images],
        {"annotations": "dataset_coco.json", "images": "images", "split": "train"},
        ["annotations", "images"],
    )


def vqav2() -> Published:
    def annotation(question: int, image: int, *answers: str) -> dict[str, Any]:
        return {
            "question_type": "what color is",
            "multiple_choice_answer": answers[0],
            "answers": [
                {"answer": answer, "answer_confidence": "yes", "answer_id": k + 1}
                for k, answer in enumerate(answers)
            ],
            "image_id": image,
            "answer_type": "other",
            "question_id": question,
        }

    return Published(
        "vqav2",
        Vqav2Source,
        {
            "questions.json": {
                "info": {},
                "task_type": "Open-Ended",
                "data_type": "mscoco",
                "license": {},
                "data_subtype": "train2014",
                "questions": [
                    {"image_id": 9, "question": "What color is it?", "question_id": 9000},
                    {"image_id": 9, "question": "Is it red?", "question_id": 9001},
                ],
            },
            "annotations.json": {
                "info": {},
                "license": {},
                "data_subtype": "train2014",
                "annotations": [
                    annotation(9000, 9, *["red"] * 7, *["dark red"] * 3),
                    annotation(9001, 9, *["yes"] * 10),
                ],
            },
        },
        ["train2014/COCO_train2014_000000000009.jpg"],
        {"questions": "questions.json", "annotations": "annotations.json", "images": "train2014"},
        ["questions", "annotations", "images"],
    )


def gqa() -> Published:
    question = {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}],
        "entailed": [],
        "equivalent": ["02930152"],
        "question": "Is the sky dark?",
        "imageId": "2354786",
        "isBalanced": True,
        "groups": {"global": None, "local": "06-sky_dark"},
        "answer": "yes",
        "semanticStr": "select: sky (2486325)",
        "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
        "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": "verify"},
        "fullAnswer": "Yes, the sky is dark.",
    }
    return Published(
        "gqa",
        GqaSource,
        {"train_balanced_questions.json": {"02930152": question}},
        ["images/2354786.jpg"],
        {"questions": "train_balanced_questions.json", "images": "images"},
        ["questions", "images"],
    )


def scienceqa() -> Published:
    def problem(**values: Any) -> dict[str, Any]:
        return {
            "question": "Which is red?",
            "choices": ["the box", "the sky"],
            "answer": 0,
            "hint": "",
            "image": None,
            "task": "closed choice",
            "grade": "grade2",
            "subject": "natural science",
            "topic": "physics",
            "category": "Colours",
            "skill": "Tell colours",
            "lecture": "",
            "solution": "The box is red.",
            "split": "train",
            **values,
        }

    return Published(
        "scienceqa",
        ScienceqaSource,
        {
            "problems.json": {
                "1": problem(image="image.png", hint="Look at it."),
                "2": problem(choices=["a", "b", "c"], answer=2, subject="language science"),
                "3": problem(split="test", image="image.png"),
            },
            "pid_splits.json": {"train": ["1", "2"], "test": ["3"], "minitrain": ["2"]},
            "captions.json": {"captions": {"1": "a red box"}},
        },
        ["images/train/1/image.png", "images/test/3/image.png"],
        {"problems": "problems.json", "splits": "pid_splits.json", "split": "train"}
        | {"images": "images"},
        ["problems", "splits", "images", "captions"],
    )


def llava() -> Published:
    def talk(*turns: str) -> list[dict[str, str]]:
        return [
            {"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(turns)
        ]

    return Published(
        "llava",
        LlavaSource,
        {
            "llava_instruct.json": [
                {
                    "id": "000000033471",
                    "image": "coco/33471.jpg",
                    "conversations": talk(
                        "<image>\nWhat is it?", "A bus.", "Which colour?", "It is red."
                    ),
                },
                {
                    "id": "000000033471",
                    "image": "coco/33471.jpg",
                    "conversations": talk("Describe it.\n<image>", "A red bus."),
                },
                {"id": "wgByO4Y_0", "conversations": talk("Say hello.", "Hello.")},
            ]
        },
        ["images/coco/33471.jpg"],
        {"path": "llava_instruct.json", "images": "images"},
        ["path", "images"],
    )


def lavin() -> Published:
    ask = "Instruction: What is it?\nResponse:"
    return Published(
        "lavin",
        LavinSource,
        {
            "all_data.json": {
                "all": [
                    {"qid": "alpaca_0", "instruction": ask, "answer": "A word."}
                    | {"image": None, "image_source": None},
                    {"qid": "llava_1", "instruction": ask, "answer": "A bus."}
                    | {"image": "000000033471.jpg", "image_source": "mscoco"},
                    {"qid": "8", "instruction": ask, "answer": "A fox."}
                    | {"image": "image.png", "image_source": "sqa"},
                    {"qid": "alpaca_9", "instruction": ask, "answer": ""}
                    | {"image": None, "image_source": None},
                ]
            }
        },
        ["train2014/COCO_train2014_000000033471.jpg", "scienceqa/train/8/image.png"],
        {"path": "all_data.json", "images": "train2014", "scienceqa_images": "scienceqa"},
        ["path", "images", "scienceqa_images"],
    )


def msrvtt() -> Published:
    def clip(number: int, split: str) -> dict[str, Any]:
        return {
            "category": 9,
            "url": "",
            "video_id": f"video{number}",
            "start time": 137.72,
            "end time": 149.44,
            "split": split,
            "id": number,
        }

    return Published(
        "msrvtt",
        MsrvttSource,
        {
            "train_val_videodatainfo.json": {
                "info": {"version": "1.0"},
                "videos": [clip(0, "train"), clip(6513, "validate")],
                "sentences": [
                    {"caption": "a box turns white", "video_id": "video0", "sen_id": 0},
                    {"caption": "grey gets bright", "video_id": "video0", "sen_id": 1},
                    {"caption": "a cook", "video_id": "video6513", "sen_id": 2},
                ],
            }
        },
        ["TrainValVideo/video0.mp4", "TrainValVideo/video6513.mp4"],
        {"annotations": "train_val_videodatainfo.json", "split": "train"}
        | {"videos": "TrainValVideo"},
        ["annotations", "videos"],
    )


def msrvtt_qa() -> Published:
    record = {"answer": "box", "category_id": 14, "id": 0, "question": "what is it?", "video_id": 3}
    return Published(
        "video_qa",
        VideoQaSource,
        {"train_qa.json": [record]},
        ["videos/video3.mp4"],
        {"questions": "train_qa.json", "videos": "videos"},
        ["questions", "videos"],
    )


def msvd_qa() -> Published:
    record = {"answer": "box", "id": 7, "question": "what is it?", "video_id": 2}
    return Published(
        "video_qa",
        VideoQaSource,
        {
            "train_qa.json": [record],
            "youtube_mapping.txt": "-4wsuPCjDBc_5_15 vid1\n-7KMZQEsJW4_205_208 vid2\n",
        },
        ["YouTubeClips/-7KMZQEsJW4_205_208.avi"],
        {"questions": "train_qa.json", "videos": "YouTubeClips", "mapping": "youtube_mapping.txt"},
        ["questions", "videos", "mapping"],
    )


def audiocaps() -> Published:
    return Published(
        "audiocaps",
        AudiocapsSource,
        {
            "val.csv": [
                ["audiocap_id", "youtube_id", "start_time", "caption"],
                ["97151", "vfY_TJq7n_U", "130", "A tone, then silence"],
                ["108945", "vfY_TJq7n_U", "130", "A hum"],
                ["99856", "tdWhHV3X25Q", "60", "A whistle"],
            ]
        },
        ["audio/vfY_TJq7n_U.wav", "audio/tdWhHV3X25Q.wav"],
        {"captions": "val.csv", "audio": "audio"},
        ["captions", "audio"],
    )


def clotho() -> Published:
    return Published(
        "clotho",
        ClothoSource,
        {
            "clotho_captions_development.csv": [
                ["file_name", *[f"caption_{k}" for k in range(1, 6)]],
                ["Distorted AM Radio noise.wav", *[f"Noise, said {k} times" for k in range(5)]],
            ]
        },
        ["development/Distorted AM Radio noise.wav"],
        {"captions": "clotho_captions_development.csv", "audio": "development"},
        ["captions", "audio"],
    )


ALL: dict[str, Callable[[], Published]] = {
    make.__name__: make
    for make in (
        *(coco, karpathy, vqav2, gqa, scienceqa, llava, lavin),
        *(msrvtt, msrvtt_qa, msvd_qa, audiocaps, clotho),
    )
}
