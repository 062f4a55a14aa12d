"""Every mistake in a published file is one error with file and record."""

import json

import pytest

from mmadapt.errors import DataError
from mmadapt_datasets import files
from tests.plugins.mmadapt_datasets.published import ALL, write_file
from tests.plugins.spoiling import change


def repeat(*path):
    """The first of a list twice."""

    def apply(content):
        for place in path:
            content = content[place]
        content.append(content[0])

    return apply


CASES = [
    ("coco", 0, change("annotations", 1, "image_id", 999), "annotations[1]: speaks of image 999"),
    ("coco", 0, change("annotations", 0, "caption", "del"), "annotations[0]: lacks 'caption'"),
    ("coco", 0, change("annotations", 0, "caption", 3), "'caption' must be text, not a number"),
    ("coco", 0, change("images", []), "'images' is an empty list"),
    ("coco", 0, change("images", 1, "id", 9), "images[1]: has the id 9 of images[0]"),
    ("coco", 0, repeat("annotations"), "annotations[3]: has the id 661611 of annotations[0]"),
    ("coco", 0, change("images", 0, "file_name", "../x.jpg"), "not below"),
    ("coco", 0, change("images", 0, "file_name", "/x.jpg"), "not below"),
    ("coco", 0, change("annotations", 2, "image_id", 9), "images[1]: has no caption"),
    ("coco", 0, change("annotations", "del"), "Karpathy's file"),
    ("karpathy", 0, change("images", 0, "sentences", []), "images[0]: 'sentences' is an empty"),
    ("karpathy", 0, change("images", 1, "cocoid", 5), "has the id '5' of images[0]"),
    ("karpathy", 0, change("images", 0, "split", "del"), "images[0]: lacks 'split'"),
    ("vqav2", 0, change("questions", 1, "question_id", 9000), "has the question_id 9000"),
    ("vqav2", 0, change("questions", 0, "question", ""), "'question' is empty"),
    ("vqav2", 0, change("questions", 0, "image_id", "9"), "must be a whole number, not text"),
    ("vqav2", 0, change("questions", 1, "question_id", 5), "question 9001, which is not asked"),
    ("vqav2", 1, change("annotations", 0, "answers", []), "'answers' is an empty list"),
    ("vqav2", 1, change("annotations", 1, "del"), "question 9001 has no annotation"),
    ("vqav2", 1, change("annotations", 0, "answers", 2, {"a": 1}), "answers[2]: lacks 'answer'"),
    ("gqa", 0, change("02930152", "imageId", "del"), "02930152: lacks 'imageId'"),
    ("gqa", 0, change("02930152", []), "02930152: is a list, not an object"),
    ("scienceqa", 0, change("1", "answer", 2), "1: has the answer 2, but 2 choices"),
    ("scienceqa", 0, change("1", "answer", True), "must be a whole number, not true or false"),
    ("scienceqa", 0, change("2", "choices", [1]), "'choices[0]' must be text, not a number"),
    ("scienceqa", 1, change("train", 0, "77"), "'train' names problem 77"),
    ("scienceqa", 1, change("train", "del"), "lacks 'train'"),
    (
        "llava",
        0,
        change(0, "conversations", 1, "from", "gtp"),
        "[1]: is said by 'gtp'",
    ),
    ("llava", 0, change(0, "conversations", 1, "from", "human"), "two turns of the user in a row"),
    ("llava", 0, change(0, "conversations", 0, "value", "<image><image> a"), "2 <image> markers"),
    ("llava", 0, change(2, "conversations", 1, "del"), "no answer to learn from"),
    ("llava", 0, change(0, "image", 5), "'image' must be a list, not a number"),
    ("llava", 0, change(0, "image", [5]), "'image[0]' must be text, not a number"),
    ("scienceqa", 0, change("1", "hint", 3), "'hint' must be text, not a number"),
    ("lavin", 0, change("all", 0, "answer", "del"), "all[0]: lacks 'answer'"),
    ("lavin", 0, change("all", 1, "qid", "alpaca_0"), "all[1]: has the id 'alpaca_0' of all[0]"),
    ("msrvtt", 0, change("sentences", 0, "video_id", "video9"), "sentences[0]: speaks of video9"),
    ("msrvtt", 0, change("videos", 0, "split", "dev"), "has no sample"),
    ("msrvtt_qa", 0, repeat(), "[1]: has the id '0' of [0]"),
    ("msrvtt_qa", 0, change(0, "answer", None), "'answer' must be text, not null"),
    ("msvd_qa", 0, change(0, "video_id", 9), "asks about vid9"),
    ("audiocaps", 0, change(0, 3, "text"), "lacks the column 'caption'"),
    ("audiocaps", 0, change(2, 3, ""), "val.csv:3: 'caption' is empty"),
    ("audiocaps", 0, change(2, ["1", "x"]), "val.csv:3: lacks 'start_time'"),
    ("clotho", 0, change(1, 1, " "), "csv:2: 'caption_1' is empty"),
    ("clotho", 0, change(1, 0, "../a.wav"), "clotho_captions_development.csv:2: names the file"),
]


@pytest.mark.parametrize(("name", "file", "spoil", "says"), CASES)
def test_a_mistake_is_named_with_its_place(tmp_path, name, file, spoil, says):
    dataset = ALL[name]()
    options = dataset.write(tmp_path)
    path = list(dataset.files)[file]
    content = json.loads(json.dumps(dataset.files[path]))
    spoil(content)
    write_file(tmp_path / path, content)
    with pytest.raises(DataError) as caught:
        dataset.source(dataset.source.Config(**options))
    text = str(caught.value)
    assert says in text and "\n" not in text and str(tmp_path) in text


@pytest.mark.parametrize("name", ALL)
def test_files_and_folders_that_do_not_exist(tmp_path, name):
    dataset = ALL[name]()
    options = dataset.write(tmp_path)
    for key in dataset.paths:
        if key in options:
            wrong = options | {key: str(tmp_path / "nowhere")}
            with pytest.raises(DataError, match="nowhere"):
                dataset.source(dataset.source.Config(**wrong))


@pytest.mark.parametrize("name", ALL)
def test_a_huge_file_is_not_read(tmp_path, name, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 40)
    with pytest.raises(DataError, match="over 40 bytes"):
        ALL[name]().read(tmp_path)
