"""The contract that every source keeps."""

from __future__ import annotations

import json

from mmadapt.testing import SourceContract
from mmadapt_jsonl.source import JsonlConfig, JsonlSource


class TestJsonl(SourceContract):
    source = JsonlSource

    def write(self, *extra):
        for name in ("a.png", "b.mp4"):
            (self.folder / name).write_bytes(b"x")
        records = [
            {"image": "a.png", "caption": "a dog"},
            {"video": "b.mp4", "start": 1, "end": 2.5, "captions": ["a cat", "one cat"]},
            {"image": "a.png", "question": "what?", "choices": ["a", "b"], "answer": 1},
            {"image": None, "messages": [{"role": "user", "content": "hello"}]},
        ]
        path = self.folder / "data.jsonl"
        path.write_text("\n".join([*map(json.dumps, records), *extra]))
        return JsonlConfig(path=str(path))

    def config(self):
        return self.write()

    def damaged(self):
        return self.write('{"image": "gone.png", "caption": "x"}'), ["data.jsonl:5", "gone.png"]
