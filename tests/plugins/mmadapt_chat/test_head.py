import pytest
from pydantic import ValidationError

from mmadapt.errors import DataError, ModelError
from mmadapt.testing.head import byte_tokenizer
from mmadapt_chat.config import ChatConfig
from mmadapt_chat.head import ChatHead
from tests.plugins.mmadapt_chat import templates

HEAD = ChatHead(ChatConfig())
IMAGE = {"type": "image", "path": "x.png"}
TURNS = [
    {"role": "user", "content": "what is it ?"},
    {"role": "assistant", "content": "a cat"},
    {"role": "user", "content": "and this ?"},
    {"role": "assistant", "content": "a dog"},
]
TWO = {"id": "1", "messages": TURNS}


def learnt(head, sample, tokenizer):
    """The runs of labelled tokens, as text."""
    encoded = head.encode(sample, tokenizer, with_target=True)
    assert len(encoded.labels) == len(encoded.input_ids)
    runs, inside = [], False
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        assert label in (-100, token)
        if label != -100:
            runs = [*runs[:-1], [*runs[-1], token]] if inside else [*runs, [token]]
        inside = label != -100
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("chatml", ["a cat<|im_end|>", "a dog<|im_end|>"]),
        ("marked", ["a cat<|im_end|>", "a dog<|im_end|>"]),
        ("llama3", ["a cat<|eot_id|>", "a dog<|eot_id|>"]),
        ("mistral", ["a cat</s>", "a dog</s>"]),
        ("plain", ["a cat", "a dog</s>"]),
    ],
)
def test_all_that_the_assistant_says_is_learnt_and_nothing_else(style, expected):
    tokenizer = templates.tokenizer(templates.ALL[style])
    assert [text.replace(" <", "<") for text in learnt(HEAD, TWO, tokenizer)] == expected
    last = ChatHead(ChatConfig(turns="last"))
    assert [text.replace(" <", "<") for text in learnt(last, TWO, tokenizer)] == expected[-1:]


@pytest.mark.parametrize("style", templates.ALL)
@pytest.mark.parametrize("turns", ["all", "last"])
def test_a_prompt_is_the_beginning_of_what_was_learnt(style, turns):
    head, tokenizer = ChatHead(ChatConfig(turns=turns)), templates.tokenizer(templates.ALL[style])
    for count in (2, 4):
        sample = {"id": "1", "messages": TURNS[:count]}
        told = head.encode(sample, tokenizer, with_target=True)
        asked = head.encode(sample, tokenizer, with_target=False)
        size = len(asked.input_ids)
        assert told.input_ids[:size] == asked.input_ids
        assert set(asked.labels) == {-100}
        assert told.labels[size] == told.input_ids[size]  # the answer begins right behind it
        without = head.encode({"id": "1", "messages": TURNS[: count - 1]}, tokenizer,
                              with_target=False)  # fmt: skip
        assert without.input_ids == asked.input_ids


@pytest.mark.parametrize("style", templates.ALL)
def test_ids_are_those_of_the_whole_text(style):
    tokenizer = templates.tokenizer(templates.ALL[style])
    encoded = HEAD.encode(TWO, tokenizer, with_target=True)
    text = tokenizer.apply_chat_template(TURNS, tokenize=False)
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = encoded.input_ids[:-1] if style == "plain" else encoded.input_ids  # EOS is added there
    assert ids == whole


def test_turns_are_tokenised_one_by_one_in_training_and_evaluation():
    tokenizer = byte_tokenizer([("t", "Ċ")])  # would join the end of a turn with the next one
    head = ChatHead(ChatConfig(chat_template=templates.PLAIN))
    told = head.encode(TWO, tokenizer, with_target=True)
    asked = head.encode(TWO, tokenizer, with_target=False)
    assert told.input_ids[: len(asked.input_ids)] == asked.input_ids
    assert learnt(head, TWO, tokenizer) == [" a cat", " a dog</s>"]


def test_media_stand_at_their_markers_or_before_the_first_question():
    tokenizer = templates.tokenizer(templates.CHATML)
    ask = [IMAGE, {"type": "text", "text": "and"}, IMAGE, {"type": "text", "text": "this ?"}]
    typed = [{"role": "user", "content": ask}, TURNS[1]]
    marked = [{"role": "user", "content": "<media>and<media>this ?"}, TURNS[1]]
    encodings = [
        HEAD.encode({"id": "1", "messages": m, "media": [IMAGE] * 2}, tokenizer, with_target=True)
        for m in (typed, marked)
    ]
    assert encodings[0] == encodings[1]
    tokens = tokenizer.convert_ids_to_tokens(encodings[0].input_ids)
    assert [tokens[at] for at in encodings[0].media_positions] == ["and", "this"]
    assert "media" not in tokenizer.decode(encodings[0].input_ids)
    bare = HEAD.encode({**TWO, "media": [IMAGE] * 2}, tokenizer, with_target=True)
    tokens = tokenizer.convert_ids_to_tokens(bare.input_ids)
    assert [tokens[at] for at in bare.media_positions] == ["what", "what"]
    assert bare.input_ids == HEAD.encode(TWO, tokenizer, with_target=True).input_ids
    later = [TURNS[0], TURNS[1], {"role": "user", "content": "and <media>"}, TURNS[3]]
    sample = {"id": "1", "messages": later, "media": [IMAGE] * 2}
    first, second = HEAD.encode(sample, tokenizer, with_target=True).media_positions
    assert first == bare.media_positions[0] and second > first


def test_prompt_and_target_make_a_conversation():
    tokenizer = templates.tokenizer(templates.CHATML)
    head = ChatHead(ChatConfig(system="be brief", prompt="what is it ?"))
    for sample in (
        {"id": "1", "target": "a cat"},
        {"id": "1", "prompt": "what is it ?", "answers": ["a cat", "a dog"]},
        {"id": "1", "references": ["a cat"]},
    ):
        assert [t.replace(" <", "<") for t in learnt(head, sample, tokenizer)] == [
            "a cat<|im_end|>"
        ]
        assert head.target(sample) == "a cat" and head.prompt(sample) == "what is it ?"
    assert head.messages({"id": "1"}) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "what is it ?"},
    ]
    own = [{"role": "system", "content": "x"}, *TURNS]
    assert head.messages({"id": "1", "messages": own})[0]["content"] == "x"
    assert own[0] == {"role": "system", "content": "x"} and len(own) == 5


def test_the_samples_messages_are_left_as_they_are():
    messages = [{"role": "user", "content": "what is it ?"}]
    HEAD.messages({"id": "1", "messages": messages, "media": [IMAGE]})
    assert messages == [{"role": "user", "content": "what is it ?"}]


def test_a_tokenizer_without_template_says_what_to_do():
    with pytest.raises(ModelError, match=r"no chat template; give the head `chat_template:`"):
        HEAD.check_tokenizer(templates.tokenizer())
    own = ChatHead(ChatConfig(chat_template=templates.CHATML))
    own.check_tokenizer(templates.tokenizer())
    assert learnt(own, TWO, templates.tokenizer())
    with pytest.raises(ModelError, match="is no Jinja template"):
        ChatHead(ChatConfig(chat_template="{% for %}")).check_tokenizer(templates.tokenizer())


def test_a_template_that_rewrites_earlier_turns_is_refused_but_for_the_last():
    tokenizer = templates.tokenizer(templates.THINKING)
    with pytest.raises(DataError, match=r"sample:1: .*give the head `turns: last`"):
        HEAD.encode(TWO, tokenizer, with_target=True)
    last = ChatHead(ChatConfig(turns="last"))
    (said,) = learnt(last, TWO, tokenizer)
    assert said.split()[-3:] == ["a", "dog", "<|im_end|>"] and len(said.split()) > 3


@pytest.mark.parametrize("said", ["think", "end", "im_end", "a dog"])
def test_what_is_said_may_look_like_what_the_template_adds(said):
    head, tokenizer = ChatHead(ChatConfig(turns="last")), byte_tokenizer()
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.chat_template = templates.THINKING
    sample = {"id": "1", "prompt": "what ?", "target": said}
    assert learnt(head, sample, tokenizer) == [f"<think> </think> {said}<|im_end|>"]


@pytest.mark.parametrize("style", ["chatml", "marked"])
@pytest.mark.parametrize("turns", ["all", "last"])
def test_a_template_that_asks_for_other_words_than_it_writes_is_refused(style, turns):
    asks = templates.ALL[style].replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")
    assert asks != templates.ALL[style]
    head = ChatHead(ChatConfig(turns=turns))
    with pytest.raises(DataError, match="sample:1: has a turn that the chat template asks for"):
        head.encode(TWO, templates.tokenizer(asks), with_target=True)


def test_a_turn_said_again_later_ends_where_it_ended():
    # Nothing ends the first turn; the same words, in the second one, are followed by EOS.
    end = "{% endgeneration %}{% if loop.last %}{{ eos_token }}{% endif %}"
    template = templates.MARKED.replace("<|im_end|>{% endgeneration %}", end)
    again = [TURNS[0], TURNS[1], TURNS[2], TURNS[1]]
    told = learnt(HEAD, {"id": "1", "messages": again}, templates.tokenizer(template))
    assert [text.replace(" <", "<") for text in told] == ["a cat", "a cat</s>"]


def test_what_opens_the_next_turn_is_not_learnt():
    open_ended = templates.MARKED.replace("<|im_end|>{% endgeneration", "{% endgeneration")
    assert open_ended != templates.MARKED
    expected = ["a cat", "a dog</s>"]
    told = learnt(HEAD, TWO, templates.tokenizer(open_ended))
    assert [text.replace(" <", "<") for text in told] == expected


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({}, "says nothing: give it messages or a prompt"),
        ({"messages": [{"role": "system", "content": "x"}, *TURNS]}, "the chat template refuses"),
        ({"messages": [{"role": "user"}]}, "a message without role or content"),
        ({"messages": [{"role": "user", "content": [{"type": "link"}]}]}, "a part of type 'link'"),
        ({"messages": [{"role": "user", "content": "<media>"}]}, "has 1 <media> markers but 0"),
        (
            {"messages": [TURNS[0], {"role": "assistant", "content": "<media>"}], "media": [IMAGE]},
            "media in a turn of the assistant",
        ),
        ({"messages": [TURNS[1]], "media": [IMAGE]}, "media but no user's turn"),
        ({"messages": TURNS[:1]}, "has no target text to learn from"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": " "}]}, "has no target text"),
    ],
)
def test_what_cannot_be_used_is_told(sample, reason):
    tokenizer = templates.tokenizer(templates.MISTRAL)
    with pytest.raises(DataError, match=f"sample:1: .*{reason}"):
        HEAD.encode({"id": "1", **sample}, tokenizer, with_target=True)


def test_options_of_the_template():
    template = templates.CHATML.replace("{% for", "{% if mood %}{{ mood }} {% endif %}{% for", 1)
    head = ChatHead(ChatConfig(chat_template=template, template_options={"mood": "brief"}))
    encoded = head.encode(TWO, templates.tokenizer(), with_target=True)
    assert templates.tokenizer().decode(encoded.input_ids).startswith("brief")
    with pytest.raises(ValidationError, match="must not set messages"):
        ChatConfig(template_options={"messages": []})


def test_everything_may_be_learnt():
    head = ChatHead(ChatConfig(learn_prompt=True))
    encoded = head.encode(TWO, templates.tokenizer(templates.CHATML), with_target=True)
    assert encoded.labels == encoded.input_ids


@pytest.mark.parametrize(
    ("style", "stop"), [("chatml", "<|im_end|>"), ("llama3", "<|eot_id|>"), ("mistral", "</s>")]
)
def test_generation_stops_where_a_turn_ends(style, stop):
    tokenizer = templates.tokenizer(templates.ALL[style])
    assert HEAD.stop_ids(tokenizer) == [tokenizer.convert_tokens_to_ids(stop)]
    assert HEAD.stop_ids(templates.tokenizer(templates.PLAIN)) == []
