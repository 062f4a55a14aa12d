"""The contract that every head keeps, in every style of template."""

from mmadapt.testing import HeadContract
from mmadapt_chat.config import ChatConfig
from mmadapt_chat.head import ChatHead
from tests.plugins.mmadapt_chat import templates

IMAGE = {"type": "image", "path": "x.png"}
MARKS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


class ChatContract(HeadContract):
    style = "chatml"
    turns = "last"

    def make(self):
        head = ChatHead(ChatConfig(chat_template=templates.ALL[self.style], turns=self.turns))
        return head

    def tokenizers(self, head):
        made = super().tokenizers(head)
        for tokenizer in made:
            tokenizer.add_tokens(MARKS, special_tokens=True)
        return made

    def samples(self):
        ask = [IMAGE, {"type": "text", "text": "and this?"}]
        turns = [
            {"role": "user", "content": "what is it?"},
            {"role": "assistant", "content": "a cat, asleep"},
            {"role": "user", "content": ask},
            {"role": "assistant", "content": "two dogs"},
        ]
        return [
            {"id": "talk", "messages": turns, "references": ["two dogs"], "media": [IMAGE] * 2},
            {"id": "once", "messages": turns[:2], "references": ["a cat, asleep"]},
            {"id": "pair", "prompt": "why?", "target": "no idea", "media": [IMAGE]},
        ]

    def without_target(self, sample):
        left = super().without_target(sample)
        return {**left, "messages": left["messages"][:-1]} if "messages" in left else left


class TestChatML(ChatContract):
    style = "chatml"


class TestMarked(ChatContract):
    style = "marked"


class TestLlama3(ChatContract):
    style = "llama3"


class TestMistral(ChatContract):
    style = "mistral"


class TestPlain(ChatContract):
    style = "plain"


class TestAllTurns(ChatContract):
    turns = "all"
