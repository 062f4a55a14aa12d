"""The composed model: losses, encoders, several fusions, generation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import BaseModel
from torch import nn
from transformers import GenerationConfig

from mmadapt.contracts import Fusion, Head
from mmadapt.errors import AttachError, DataError
from mmadapt.model import MultimodalModel
from mmadapt.testing.case import STEPS, with_labels
from mmadapt.types import LevelSpec
from tests import world
from tests.tiny import VOCAB, TinyEncoder, context, tiny_lm, tiny_tokenizer
from tests.toy import EverySite, EverySiteConfig


class Counting(TinyEncoder):
    """Writes down what it is asked for."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked, self.kept, self.with_gradient = [], [], []

    def forward(self, inputs, levels):
        self.asked.append(list(levels))
        self.with_gradient.append(torch.is_grad_enabled())
        return super().forward(inputs, levels)

    def keep_blocks(self, count):
        self.kept.append(count)


class Reading(EverySite):
    """Reads the levels it was told to."""

    wanted: tuple[LevelSpec, ...] = (LevelSpec(2), LevelSpec(5, normed=True))

    def levels(self, encoder):
        return self.wanted


def toy(lm, encoders, name="toy", cls=EverySite, **options):
    return cls(EverySiteConfig(**options), context(lm, encoders, name))


def join(family="llama", encoders=None, fusions=None, lm=None, tokenizer=None, **options):
    lm = lm or tiny_lm(family)
    torch.manual_seed(0)
    encoders = {"image": TinyEncoder()} if encoders is None else encoders
    fusions = fusions(lm, encoders) if fusions else [toy(lm, encoders)]
    return MultimodalModel(lm, tokenizer, encoders, fusions, Head(None), **options).eval()


def batch_for(model, rows=2, length=7):
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(4, VOCAB, (rows, length), generator=generator)
    media: Any = {name: encoder.inputs(rows) for name, encoder in model.encoders.items()}
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "media": media,
        "media_positions": torch.ones(rows, 1, dtype=torch.long),
    }


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt", "gpt2"])
@pytest.mark.parametrize("items", [None, 5])
def test_loss_of_tied_and_capped_heads(family, items):
    lm = tiny_lm(family, tie_word_embeddings=True)
    assert lm.get_output_embeddings().weight is lm.get_input_embeddings().weight
    if family == "gemma2":
        assert lm.config.final_logit_softcapping
    model = join(lm=lm)
    batch = with_labels(batch_for(model))
    output = model(**batch, num_items_in_batch=items)
    full = model(**batch, return_logits="all")
    options = {} if items is None else {"num_items_in_batch": items}
    own = lm.loss_function(full.logits, full.text.labels, vocab_size=VOCAB, **options)
    torch.testing.assert_close(output.loss, own, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.loss * (items or 6), full.loss * 6, atol=1e-4, rtol=0)


def test_logits_at_labels_are_rows_of_all_logits():
    model = join()
    batch = with_labels(batch_for(model))
    few, full = model(**batch), model(**batch, return_logits="all")
    predicts = full.text.labels[:, 1:] != -100
    torch.testing.assert_close(few.logits[0], full.logits[:, :-1][predicts], atol=1e-6, rtol=0)
    unlabelled = model(**{key: value for key, value in batch.items() if key != "labels"})
    assert unlabelled.loss is None and unlabelled.logits.shape == (2, 8, VOCAB)


def test_what_does_not_fit_into_the_lm_is_refused():
    model = join()
    room = model.lm.config.max_position_embeddings
    fits, long = batch_for(model, length=room - 1), batch_for(model, length=room)
    assert model(**fits).logits.shape[1] == room  # one token is the fusion's
    with pytest.raises(DataError, match=f"has {room + 1} tokens, media included; the LM takes at"):
        model(**long)
    long["attention_mask"][:, :5] = 0  # padding takes no room
    assert model(**long).logits.shape[1] == room + 1


def test_a_batch_of_text_alone_may_leave_the_adapter_as_it_is():
    """Where a fusion acts through its tokens only, there is nothing to learn, and no error."""
    model = join(fusions=lambda lm, encoders: [toy(lm, encoders, sites=())])
    batch = with_labels(batch_for(model))
    seen = model(**batch).loss
    bare = model(**{**batch, "media": {}}).loss
    bare.backward()
    gradients = [parameter.grad for parameter in model.trainable_parameters().values()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
    assert seen.requires_grad and seen.item() != bare.item() and torch.isfinite(bare)


def test_a_batch_without_any_label_is_refused():
    model = join()
    batch = batch_for(model)
    with pytest.raises(DataError, match="no labelled token"):
        model(**batch, labels=torch.full_like(batch["input_ids"], -100))


def test_inserted_tokens_hold_the_padding_id_and_no_label():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = "<unk>"
    model = join(tokenizer=tokenizer)
    text = model(**with_labels(batch_for(model))).text
    assert text.spans["toy"].tolist() == [[0, 1, 0, 0, 0, 0, 0, 0]] * 2
    assert text.input_ids[:, 1].tolist() == [3, 3] and text.labels[:, 1].tolist() == [-100, -100]


def test_media_stand_at_the_first_real_token_unless_told():
    model = join()
    batch = batch_for(model)
    del batch["media_positions"]
    batch["attention_mask"][1, :3] = 0
    text = model(**batch).text
    assert text.attention_mask.sum(dim=1).tolist() == [8, 5]
    assert text.spans["toy"].argmax(dim=1).tolist() == [0, 0]  # padding moved to the right


def test_the_aux_loss_is_added():
    class Regular(EverySite):
        def aux_loss(self, state):
            return torch.tensor(3.0)

    def both(lm, encoders):
        return [toy(lm, encoders), toy(lm, encoders, "b", Regular, sites=("mlp_output",))]

    model = join(fusions=both)
    batch = with_labels(batch_for(model))
    with_aux = model(**batch).loss
    model.fusions["b"].aux_loss = lambda state: None
    torch.testing.assert_close(with_aux, model(**batch).loss + 3)


def two_readers(lm, encoders):
    first = toy(lm, encoders, "first", Reading, sites=("mlp_output",))
    second = toy(lm, encoders, "second", Reading, sites=("layer_input",))
    second.wanted = (LevelSpec(3), LevelSpec(2))
    return [first, second]


def test_an_encoder_runs_once_without_gradients_for_all_that_is_read():
    encoders = {"image": Counting()}
    model = join(encoders=encoders, fusions=two_readers).train()
    model(**with_labels(batch_for(model))).loss.backward()
    assert encoders["image"].asked == [[LevelSpec(2), LevelSpec(5, True), LevelSpec(3)]]
    assert encoders["image"].with_gradient == [False]
    assert encoders["image"].kept == [6]


def test_each_fusion_gets_its_levels_in_its_order():
    model = join(fusions=two_readers)
    inputs = batch_for(model)["media"]
    features = model.encode(inputs)
    encoder = model.encoders["image"]
    for name, specs in (("first", Reading.wanted), ("second", (LevelSpec(3), LevelSpec(2)))):
        for found, spec in zip(features[name]["image"].levels, specs, strict=True):
            assert torch.equal(found, encoder(inputs["image"], [spec]).levels[0])


def test_blocks_that_nobody_reads_are_dropped():
    encoders = {"image": Counting()}

    def early(lm, encoders):
        fusion = toy(lm, encoders, cls=Reading)
        fusion.wanted = (LevelSpec(1), LevelSpec(3))
        return [fusion]

    join(encoders=encoders, fusions=early)
    assert encoders["image"].kept == [4]


def test_a_fusion_reads_only_the_encoders_it_serves():
    encoders = {"image": Counting(), "audio": Counting(width=16)}

    def each(lm, encoders):
        return [
            toy(lm, {name: encoders[name]}, f"of_{name}", sites=("mlp_output",))
            for name in encoders
        ]

    model = join(
        encoders=encoders, fusions=each, served={"of_image": ["image"], "of_audio": ["audio"]}
    )
    features = model.encode(batch_for(model)["media"])
    assert {name: list(found) for name, found in features.items()} == {
        "of_image": ["image"],
        "of_audio": ["audio"],
    }
    text = model(**batch_for(model)).text
    assert set(text.spans) == {"of_image", "of_audio"}  # each finds its own token
    assert text.spans["of_image"][0].nonzero().item() != text.spans["of_audio"][0].nonzero().item()


def test_a_rewritten_encoder_carries_gradients():
    encoders = {"image": Counting()}
    model = join(encoders=encoders)
    model.attachment._rewrites.append(type("R", (), {"encoders": frozenset({"image"})}))
    model(**batch_for(model))
    with torch.no_grad():
        model(**batch_for(model))
    assert encoders["image"].with_gradient == [True, False]


def test_two_fusions_of_one_name_are_refused():
    with pytest.raises(AttachError, match="two fusions are named 'toy'"):
        join(fusions=lambda lm, encoders: [toy(lm, encoders), toy(lm, encoders)])


def test_training_never_moves_batch_statistics():
    class Normed(TinyEncoder):
        def __init__(self):
            super().__init__()
            self.batch_norm = nn.BatchNorm1d(4)

    encoders = {"image": Normed()}
    model = join(encoders=encoders).train()
    assert model.training and model.encoders["image"].training
    assert not model.encoders["image"].batch_norm.training
    assert not model.eval().lm.training


def test_generation_is_greedy_and_gives_new_tokens_only():
    model = join()
    model.lm.generation_config.do_sample = True
    model.lm.generation_config.temperature = 5.0
    model.train()
    batch = batch_for(model)
    ids = model.generate_batch(**batch, max_new_tokens=STEPS)
    assert ids.shape == (2, STEPS) and model.training
    assert torch.equal(ids, model.generate_batch(**batch, max_new_tokens=STEPS))
    step = model.eval()(**batch).logits[:, -1].argmax(dim=-1)
    assert torch.equal(ids[:, 0], step)


def test_sampling_and_sequences_per_sample_are_the_callers():
    model = join()
    batch = batch_for(model)
    torch.manual_seed(1)
    options = {"do_sample": True, "num_return_sequences": 3, "temperature": 2.0}
    ids = model.generate_batch(**batch, max_new_tokens=8, **options)
    assert ids.shape == (6, 8)
    assert len({tuple(row) for row in ids[:3].tolist()}) == 3


@pytest.mark.parametrize("place", ["options", "config", "the LM's own"])
def test_beams_may_be_asked_for_in_any_place(place):
    model = join()
    batch = batch_for(model)
    expected = model.generate_batch(**batch, max_new_tokens=8, num_beams=3)
    greedy = model.generate_batch(**batch, max_new_tokens=8)
    assert not torch.equal(expected, greedy)
    if place == "options":
        found = model.generate_batch(**batch, max_new_tokens=8, num_beams=3, early_stopping=False)
    elif place == "config":
        config = GenerationConfig(num_beams=3, max_new_tokens=8, pad_token_id=0)
        found = model.generate_batch(**batch, generation_config=config)
    else:
        model.lm.generation_config.num_beams = 3
        found = model.generate_batch(**batch, max_new_tokens=8)
    assert torch.equal(found, expected)


def test_a_failed_generation_goes_back_to_training():
    model = join().train()
    with pytest.raises(DataError, match="nonsense"):
        model.generate_batch(**batch_for(model), nonsense=1)
    assert model.training


def test_a_fusion_that_is_not_causal_generates_without_a_cache(monkeypatch):
    model = join()
    lengths = []
    monkeypatch.setattr(EverySite, "causal", False)
    layer = model.lm.model.layers[0]
    layer.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    model.generate_batch(**batch_for(model), max_new_tokens=3)
    assert lengths == [8, 9, 10]


def test_nothing_to_continue_is_an_error_in_words():
    model = join(fusions=lambda lm, encoders: [toy(lm, encoders, token=False)])
    batch = {"input_ids": torch.zeros(1, 0, dtype=torch.long)}
    with pytest.raises(DataError, match="prompt is empty"):
        model.generate_batch(**batch, media={"image": model.encoders["image"].inputs(1)})


def spoken(**options):
    """A model of the colour world, which reads and speaks."""
    tokenizer = tiny_tokenizer(world.WORDS)
    lm = tiny_lm("llama", vocab_size=len(tokenizer))
    encoders = {"image": world.ColourEncoder()}
    torch.manual_seed(0)
    fusion = toy(lm, encoders)
    head = world.PlainHead(None)
    return MultimodalModel(lm, tokenizer, encoders, [fusion], head, **options).eval()


def test_generate_answers_one_or_a_list():
    model = spoken()
    one = model.generate(image="c1/1", prompt="say", max_new_tokens=6)
    assert isinstance(one, str) and one
    many = model.generate(image=["c1/1", "c3/2"], prompt="say", max_new_tokens=6)
    assert isinstance(many, list) and many[0] == one and many[1] != one
    beams = model.generate(
        image="c1/1", prompt="say", max_new_tokens=6, num_beams=3, num_return_sequences=2
    )
    assert isinstance(beams, list) and len(beams) == 2
    uneven = model.generate(
        image=["c1/1", "c1/1"], prompt=["say red blue", "say"], max_new_tokens=6
    )
    assert uneven[1] == one


def test_answers_are_the_heads():
    model = spoken()
    plain = model.generate(image="c1/1", prompt="say", max_new_tokens=5)
    model.head.answer = lambda sample, text: f"{sample['prompt']}: {text}"
    assert model.generate(image="c1/1", prompt="say", max_new_tokens=5) == f"say: {plain}"


def test_what_a_model_perceives():
    model = spoken()
    assert model.modalities == ["image"]
    assert model.processors["image"][0] == "image"
    assert model.config is model.lm.config and model.device.type == "cpu"
    with pytest.raises(DataError, match="composed without a tokenizer"):
        join().require_tokenizer()


class Nothing(Fusion):
    """Uses no site, reads nothing."""

    Config = BaseModel


def test_the_identity_fusion_is_the_lm():
    model = join(fusions=lambda lm, encoders: [Nothing(None, context(lm, encoders, "nothing"))])
    batch = batch_for(model)
    with torch.no_grad():
        expected = model.lm(batch["input_ids"]).logits
        assert torch.equal(model(**batch).logits, expected)


def test_what_is_trained_is_what_is_saved():
    class Buffered(EverySite):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.register_buffer("steps", torch.zeros(2))

    model = join(fusions=lambda lm, encoders: [toy(lm, encoders, cls=Buffered)])
    state = model.adapter_state_dict()
    assert set(state) == {*model.trainable_parameters(), "fusions.toy.steps"}
    model.lm.lm_head.weight.requires_grad_(True)
    assert "lm.lm_head.weight" in model.adapter_state_dict()
    assert not any(tensor.requires_grad for tensor in model.adapter_state_dict().values())
