from pathlib import Path

import pytest

from mmadapt.errors import DataError
from tests.plugins.mmadapt_datasets import published
from tests.plugins.mmadapt_datasets.published import ALL


def media(sample):
    return [(part["type"], Path(part["path"]).name) for part in sample["media"]]


def test_coco_has_a_sample_for_each_image(tmp_path):
    first, second = published.coco().read(tmp_path)
    assert first["references"] == ["A red box.", "A box that is red."] and first["target"] is None
    assert (second["id"], second["target"]) == ("25", "One giraffe.")
    assert media(first) == [("image", "COCO_train2014_000000000009.jpg")]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["5", "6"]),
        ({"restval": False}, ["5"]),
        ({"split": "val"}, ["7"]),
        ({"split": "test"}, ["8"]),
    ],
)
def test_karpathys_splits(tmp_path, options, ids):
    assert [sample["id"] for sample in published.karpathy().read(tmp_path, **options)] == ids


def test_vqav2_keeps_the_ten_answers(tmp_path):
    first, second = published.vqav2().read(tmp_path)
    assert first["prompt"] == "What color is it?" and len(first["answers"]) == 10
    assert first["references"] == ["red", "dark red"]
    assert first["meta"] == {"question_type": "what color is", "answer_type": "other"}
    assert second["id"] == "9001"


def test_vqav2_without_answers_asks_only(tmp_path):
    first, _ = published.vqav2().read(tmp_path, annotations=None)
    assert "answers" not in first


def test_gqa(tmp_path):
    (sample,) = published.gqa().read(tmp_path)
    assert (sample["id"], sample["prompt"], sample["answers"]) == (
        "02930152",
        "Is the sky dark?",
        ["yes"],
    )
    assert sample["meta"]["structural"] == "verify"


def test_scienceqa_has_samples_with_and_without_images(tmp_path):
    first, second = published.scienceqa().read(tmp_path)
    assert first["media"] and not second["media"]
    assert (second["choices"], second["references"]) == (["a", "b", "c"], ["c"])
    assert first["meta"]["context"] == "Look at it." and first["meta"]["has_image"]


def test_scienceqa_options(tmp_path):
    dataset = published.scienceqa()
    captions = str(tmp_path / "captions.json")
    (sample,) = dataset.read(tmp_path, with_image=True, captions=captions)
    assert sample["meta"]["context"] == "Look at it. a red box"
    assert [s["id"] for s in dataset.read(tmp_path, with_image=False)] == ["2"]
    assert [s["id"] for s in dataset.read(tmp_path, split="minitrain")] == ["2"]
    (sample,) = dataset.read(tmp_path, splits=None, split="test")
    assert Path(sample["media"][0]["path"]).parts[-3:] == ("test", "3", "image.png")


def test_conversations(tmp_path):
    first, second, third = published.llava().read(tmp_path)
    assert [turn["role"] for turn in first["messages"]] == ["user", "assistant"] * 2
    assert first["messages"][0]["content"] == "<media>\nWhat is it?"
    assert second["messages"][0]["content"] == "Describe it.<media>"
    assert (first["id"], second["id"]) == ("000000033471", "000000033471#2")
    assert third["media"] == [] and first["references"] == ["It is red."]


def test_lavin_mixes_text_and_images(tmp_path):
    first, second, third = published.lavin().read(tmp_path)  # the empty answer is left out
    assert first["media"] == [] and media(second) == [("image", "COCO_train2014_000000033471.jpg")]
    assert Path(third["media"][0]["path"]).parts[-3:] == ("train", "8", "image.png")
    assert second["target"] == "A bus." and second["prompt"].endswith("Response:")


def test_msrvtt_takes_a_split(tmp_path):
    (sample,) = published.msrvtt().read(tmp_path)
    assert sample["references"] == ["a box turns white", "grey gets bright"]
    assert media(sample) == [("video", "video0.mp4")]
    assert len(published.msrvtt().read(tmp_path, split=None)) == 2


def test_questions_about_videos(tmp_path):
    (sample,) = published.msrvtt_qa().read(tmp_path / "a")
    assert (sample["prompt"], sample["answers"]) == ("what is it?", ["box"])
    assert media(sample) == [("video", "video3.mp4")]
    (sample,) = published.msvd_qa().read(tmp_path / "b")
    assert media(sample) == [("video", "-7KMZQEsJW4_205_208.avi")]


def test_audiocaps_joins_captions_of_one_sound(tmp_path):
    first, second = published.audiocaps().read(tmp_path)
    assert first["references"] == ["A tone, then silence", "A hum"]
    assert (second["id"], second["target"]) == ("tdWhHV3X25Q_60", "A whistle")


def test_clotho(tmp_path):
    (sample,) = published.clotho().read(tmp_path)
    assert len(sample["references"]) == 5
    assert media(sample) == [("audio", "Distorted AM Radio noise.wav")]


@pytest.mark.parametrize("name", ALL)
def test_limit(tmp_path, name):
    assert len(ALL[name]().read(tmp_path, limit=1)) == 1


@pytest.mark.parametrize("name", ALL)
def test_a_missing_media_file_is_named_before_training(tmp_path, name):
    dataset = ALL[name]()
    options = dataset.write(tmp_path)
    missing = tmp_path / dataset.media[0]
    missing.unlink()
    with pytest.raises(DataError, match="does not exist") as caught:
        dataset.source(dataset.source.Config(**options))
    assert str(missing) in str(caught.value)
    assert len(dataset.source(dataset.source.Config(**options, check_files=False))) > 0


@pytest.mark.parametrize("name", ALL)
def test_a_link_out_of_the_folder_is_refused(tmp_path, name):
    dataset = ALL[name]()
    options = dataset.write(tmp_path)
    file = tmp_path / dataset.media[0]
    file.rename(tmp_path.parent / f"{name}.secret")
    file.symlink_to(tmp_path.parent / f"{name}.secret")
    with pytest.raises(DataError, match="leads outside"):
        dataset.source(dataset.source.Config(**options))
    assert len(dataset.source(dataset.source.Config(**options, allow_outside=True))) > 0
