"""The chat head in a composed model."""

import pytest
import torch

from mmadapt.composition import compose
from mmadapt.contracts import Head
from mmadapt.errors import DataError, ModelError
from mmadapt_chat.config import ChatConfig
from mmadapt_chat.head import ChatHead
from tests import world
from tests.plugins.mmadapt_chat.templates import PLAIN

TURNS = [
    {"role": "user", "content": "red ?"},
    {"role": "assistant", "content": "blue"},
    {"role": "user", "content": "and <media> say"},
]
FILES = {"image": [["c1/1", "c2/1"]]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = world.save_lm(tmp_path_factory.mktemp("lm"))
    torch.manual_seed(1)
    head = ChatHead(ChatConfig(chat_template=PLAIN))
    return compose(world.recipe(folder), head=head, allow_code=True)


def test_a_prompt_is_the_users_turn(model):
    answers = model.generate(image=["c1/1", "c2/1"], prompt="say", max_new_tokens=3)
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers)
    alone = model.generate(image="c1/1", prompt="say", max_new_tokens=3)
    turn = model.generate(
        image="c1/1", prompt=[{"role": "user", "content": "say"}], max_new_tokens=3
    )
    assert alone == turn == answers[0]


def test_a_conversation_with_several_pictures(model):
    (answer,) = model.generate(**FILES, prompt=[TURNS], max_new_tokens=3)
    assert isinstance(answer, str)
    with pytest.raises(DataError, match="says nothing"):
        model.generate(image="c1/1")


def test_other_heads_take_no_conversations(model, monkeypatch):
    monkeypatch.setattr(model, "head", Head(None))
    with pytest.raises(DataError, match="Head takes no messages; give a text, or use"):
        model.generate(**FILES, prompt=[TURNS])


def test_a_model_without_template_cannot_be_composed(tmp_path):
    with pytest.raises(ModelError, match="no chat template"):
        compose(world.recipe(world.save_lm(tmp_path)), head=ChatHead(ChatConfig()), allow_code=True)
