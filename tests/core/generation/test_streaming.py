"""Streamers see the caller's prompt and the new tokens, whatever a fusion inserts."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from transformers import TextIteratorStreamer, TextStreamer
from transformers.generation.streamers import BaseStreamer

from mmadapt.composition import compose
from mmadapt.data.inputs import collate_prompts
from mmadapt.errors import DataError, MediaError
from mmadapt.registry import get_registry
from tests.plugins.test_batch_sizes import FUSIONS, samples

QUESTION = "what colour is the shape ?"


@pytest.fixture(scope="module", params=FUSIONS)
def model(request):
    model = compose(
        lm="embedded:lm",
        encoders={"image": {"use": "vit", "model": "embedded:vit"}},
        fusion=FUSIONS[request.param],
        head={"use": "vqa"},
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


class Noted(BaseStreamer):
    """Keeps what it is shown."""

    def __init__(self):
        self.values, self.ends = [], 0

    def put(self, value):
        self.values.append(value)

    def end(self):
        self.ends += 1


def batch_of(model, rows):
    chosen = samples()[1 : 1 + rows]
    for sample in chosen:
        del sample["choices"]
    return collate_prompts(chosen, model.head, model.tokenizer, model.processors, None)


def image():
    return samples()[1]["media"][0]["value"]


def test_a_streamer_sees_the_prompt_and_then_the_new_tokens(model):
    batch = batch_of(model, 1)
    batch["input_ids"] = torch.nn.functional.pad(batch["input_ids"], (2, 1), value=7)
    mask = torch.nn.functional.pad(batch["attention_mask"].long(), (2, 1))
    batch |= {"attention_mask": mask, "media_positions": batch["media_positions"] + 2}
    streamer, options = Noted(), {"max_new_tokens": 6, "eos_token_id": None}
    ids = model.generate_batch(**batch, **options, streamer=streamer)
    assert torch.equal(streamer.values[0], batch["input_ids"][:, 2:-1]) and streamer.ends == 1
    assert torch.equal(torch.cat(streamer.values[1:]), ids[0]) and len(ids[0]) == 6
    assert torch.equal(ids, model.generate_batch(**batch, **options))


def test_a_batch_goes_to_a_streamer_that_takes_one(model):
    batch, streamer = batch_of(model, 3), Noted()
    ids = model.generate_batch(**batch, max_new_tokens=4, eos_token_id=None, streamer=streamer)
    assert torch.equal(streamer.values[0], batch["input_ids"])
    assert torch.equal(torch.stack(streamer.values[1:], dim=1), ids)


def test_every_sequence_of_a_sample_has_its_prompt(model):
    batch, streamer = batch_of(model, 2), Noted()
    options = {"max_new_tokens": 3, "eos_token_id": None, "do_sample": True}
    ids = model.generate_batch(**batch, **options, num_return_sequences=2, streamer=streamer)
    assert torch.equal(streamer.values[0], batch["input_ids"][[0, 0, 1, 1]])
    assert torch.equal(torch.stack(streamer.values[1:], dim=1), ids) and len(ids) == 4


@pytest.mark.parametrize("skip_prompt", [True, False])
def test_text_is_printed_with_or_without_the_prompt(model, skip_prompt, capsys):
    streamer = TextStreamer(model.tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
    answer = model.generate(image=image(), prompt=QUESTION, max_new_tokens=5, streamer=streamer)
    printed = capsys.readouterr().out
    assert answer and printed.strip().endswith(answer)
    assert ("what colour" in printed) is not skip_prompt and "<" not in printed
    assert not skip_prompt or printed.strip() == answer


def test_words_can_be_read_while_they_are_generated(model):
    streamer = TextIteratorStreamer(
        model.tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=60
    )
    options = {"image": image(), "prompt": QUESTION, "max_new_tokens": 8, "streamer": streamer}
    options["suppress_tokens"] = model.tokenizer.all_special_ids
    thread = Thread(target=model.generate, kwargs=options)
    thread.start()
    words = [word for word in streamer if word]
    thread.join()
    del options["streamer"]
    assert len(words) > 1 and "".join(words) == model.generate(**options)


def test_what_cannot_be_streamed_is_said_and_the_streamer_ended(model):
    asked = {"image": image(), "prompt": QUESTION}
    several = {"image": [image()] * 2, "prompt": QUESTION}
    streamer = TextStreamer(model.tokenizer)
    for inputs, options, part in (
        (several, {}, "TextStreamer shows one text, not 2; ask about one sample at a time"),
        (asked, {"num_beams": 2}, "beams are several; set num_beams: 1"),
        (asked, {"do_sample": True, "num_return_sequences": 2}, "one text, not 2"),
    ):
        with pytest.raises(DataError, match=part):
            model.generate(**inputs, **options, streamer=streamer)
    noted = Noted()
    with pytest.raises(MediaError):
        model.generate(image="missing.png", prompt=QUESTION, streamer=noted)
    assert noted.ends == 1 and noted.values == []
    with pytest.raises(DataError, match="beams"):
        model.generate(**asked, num_beams=2, streamer=noted)
    assert noted.ends == 2
    own, cls = model.head, get_registry().get("head", "classify").load()
    model.head = cls(cls.Config())
    try:
        with pytest.raises(DataError, match="chooses among answers and generates none"):
            model.generate(**asked, choices=["red", "blue"], streamer=noted)
    finally:
        model.head = own
    assert noted.ends == 3
