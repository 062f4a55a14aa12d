import pytest

from mmadapt.data.views import EachReference, InMemory, SwappedMedia, View, WithSound, seeded_subset


def sample(name, *references, target=None, media="image"):
    parts = [{"type": media, "path": f"{name}.file"}] if media else []
    return {"id": name, "references": list(references), "target": target, "media": parts}


def test_training_takes_every_caption_of_a_sample_without_a_target():
    source = InMemory([sample("a", "x", "y"), sample("b", "z"), sample("c", "u", "v", target="u")])
    seen = [(s["id"], s["target"]) for s in EachReference(source)]
    assert seen == [("a#0", "x"), ("a#1", "y"), ("b", None), ("c", "u")]
    assert EachReference(source)[1]["references"] == ["x", "y"]


def test_swapped_media_come_from_a_sample_that_says_something_else():
    source = InMemory([sample(f"{i}", f"colour {i % 3}") for i in range(30)])
    swapped = SwappedMedia(source, seed=1)
    used = [s["media"][0]["path"] for s in swapped]
    assert len(set(used)) >= 27  # hardly any is used twice
    for i, path in enumerate(used):
        assert int(path.split(".")[0]) % 3 != i % 3
    assert swapped.unswapped == 0
    assert used == [s["media"][0]["path"] for s in SwappedMedia(source, seed=1)]
    assert used != [s["media"][0]["path"] for s in SwappedMedia(source, seed=2)]
    assert [s["references"] for s in swapped] == [s["references"] for s in source]


def test_a_sample_with_answers_stays_one_sample():
    one = {**sample("a", "x", "y"), "answers": ["x", "x", "y"]}
    assert [s["id"] for s in EachReference(InMemory([one]))] == ["a"]


def test_swapped_media_answer_the_same_question_differently_where_they_can():
    asked = [
        {**sample(f"{i}", f"{'ab'[i % 2]}{i % 6 // 2}"), "prompt": f"question {i % 2}"}
        for i in range(24)
    ]
    swapped = SwappedMedia(InMemory(asked), seed=3)
    for i, other in enumerate(swapped.partner):
        assert i % 2 == other % 2 and i % 6 != other % 6
    alone = [{**sample("0", "x"), "prompt": "p"}, {**sample("1", "y"), "prompt": "q"}]
    assert SwappedMedia(InMemory(alone)).partner == [1, 0]


def test_answers_say_what_media_say():
    said = [{**sample(f"{i}"), "answers": ["x" if i < 2 else "y"]} for i in range(4)]
    assert {i // 2 for i in SwappedMedia(InMemory(said)).partner[:2]} == {1}


def test_where_captions_are_uneven_media_are_used_again():
    source = InMemory([sample(f"{i}", "x" if i else "y") for i in range(4)])
    swapped = SwappedMedia(source)
    assert swapped.unswapped == 0
    assert [s["media"][0]["path"] for s in swapped][1:] == ["0.file"] * 3


def test_a_sample_keeps_its_media_where_no_other_fits():
    source = InMemory([sample("a", "x"), sample("b", "x", "y"), sample("c", "z", media="audio")])
    swapped = SwappedMedia(source)
    assert swapped.unswapped == 3
    assert [s["media"] for s in swapped] == [s["media"] for s in source]


def test_a_subset_is_fixed_and_in_order():
    source = InMemory([sample(str(i)) for i in range(50)])
    ids = [s["id"] for s in seeded_subset(source, 10, seed=4)]
    assert len(ids) == 10 and ids == sorted(ids, key=int)
    assert ids == [s["id"] for s in seeded_subset(source, 10, seed=4)]
    assert ids != [s["id"] for s in seeded_subset(source, 10, seed=5)]
    assert seeded_subset(source, None) is source and seeded_subset(source, 50) is source


def test_a_view_reads_its_source():
    source = InMemory([sample(str(i)) for i in range(5)])
    assert [s["id"] for s in View(source, [3, 1])] == ["3", "1"]
    with pytest.raises(IndexError):
        View(source, [3, 1])[2]


def test_clips_bring_their_sound():
    clip = {"type": "video", "path": "a.mp4", "start": 1.0}
    sound = {**clip, "type": "audio", "optional": True}
    own = {"type": "audio", "path": "a.wav"}
    image, frames = {"type": "image", "path": "a.png"}, {"type": "video", "value": [1, 2]}
    source = InMemory(
        [{"id": "", "media": media} for media in ([clip, image], [clip, own], [image], [frames])]
        + [{"id": "text"}]
    )
    seen = [sample.get("media") for sample in WithSound(source)]
    assert seen == [[sound, clip, image], [clip, own], [image], [frames], None]
    stored = InMemory([{"id": "", "media": [{"type": "video", "value": b"mp4"}]}])
    assert [part["type"] for part in WithSound(stored)[0]["media"]] == ["audio", "video"]
