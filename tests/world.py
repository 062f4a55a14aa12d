"""A world without files for tests of data, training and evaluation: a path names a colour.

The path `"c3/7"` is medium number 7 of colour 3; `"bad/7"` cannot be read. `recipe` joins the parts
into a recipe whose LM lies in a folder that `save_lm` wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from mmadapt.composition import compose
from mmadapt.contracts import Head, Metric, MetricResult, Processor, Source
from mmadapt.errors import DataError, MediaError
from mmadapt.model import MultimodalModel
from tests.tiny import TinyEncoder, TinyEncoderConfig, tiny_lm, tiny_tokenizer

WORDS = ["say", "red", "green", "blue", "pink", "dark", "light"]
COLOURS = WORDS[1:5]
CALLS: list[str] = []  # paths read by ColourProcessor in this process


class ColourProcessor(Processor):
    """One item of 5 tokens of width 8: the colour, and a little noise of the file's own."""

    def __init__(self, noise: bool = False) -> None:
        self.noise = noise

    def __call__(self, media: Any, rng: np.random.Generator | None = None) -> torch.Tensor:
        path = media["path"]
        CALLS.append(path)
        kind, number = path.split("/")
        if kind == "bad":
            raise MediaError(path, "the file is damaged", media["type"])
        colour = int(kind[1:])
        own = np.random.default_rng([colour, int(number)])
        values = torch.full((1, 5, 8), 0.0)
        values[..., colour] = 3.0
        values += 0.01 * torch.from_numpy(own.normal(size=values.shape)).float()
        if self.noise and rng is not None:
            values += torch.from_numpy(rng.normal(size=values.shape)).float()
        return values


class ColourEncoder(TinyEncoder):
    """Reads colours."""

    def __init__(self, config: TinyEncoderConfig | None = None) -> None:
        torch.manual_seed(0)
        super().__init__(TinyEncoderConfig(width=8, depth=2, side=2))
        self.processor = ColourProcessor()


class ColourConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int = 24
    start: int = 0
    bad: list[int] = []


class ColourSource(Source):
    """`say` -> the colour's name."""

    Config = ColourConfig

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> Any:
        number = self.config.start + index
        colour = number % len(COLOURS)
        kind = "bad" if index in self.config.bad else f"c{colour}"
        return {
            "id": f"s{number}",
            "prompt": "say",
            "target": COLOURS[colour],
            "references": [COLOURS[colour]],
            "media": [{"type": "image", "path": f"{kind}/{number}"}],
        }


class LongPrompts(ColourSource):
    """Prompts of different lengths, so that batches are padded differently."""

    def __getitem__(self, index: int) -> Any:
        return {**super().__getitem__(index), "prompt": " ".join(["say"] * (1 + index % 4))}


class PlainConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PlainHead(Head):
    """Prompt and target of the sample."""

    Config = PlainConfig


class ChoosingHead(PlainHead):
    """Answers are chosen among the colours."""

    def candidates(self, sample: Any) -> list[str]:
        return COLOURS


class Exact(Metric):
    """Share of right answers."""

    Config = PlainConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.hits: list[float] = []

    def update(self, sample: Any, answer: str) -> None:
        self.hits.append(float(answer == sample["target"]))

    def compute(self) -> MetricResult:
        if not self.hits:
            raise DataError("metric", None, "nothing")
        return MetricResult({"Exact": sum(self.hits) / len(self.hits)}, self.hits)


def save_lm(folder: Path, **changes: Any) -> Path:
    """Writes a tiny LM that can say the words of this world, with its tokenizer."""
    tokenizer = tiny_tokenizer(WORDS)
    lm = tiny_lm("llama", vocab_size=len(tokenizer), **changes)
    lm.generation_config.eos_token_id = tokenizer.eos_token_id
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe(lm: Path, **blocks: Any) -> dict[str, Any]:
    """A recipe of this world; blocks are laid over its own, key by key; None removes one."""
    here = "tests.world"
    base: dict[str, Any] = {
        "name": "colours",
        "lm": {"model": str(lm)},
        "encoders": {"image": {"use": f"{here}:ColourEncoder"}},
        "fusion": {"use": "tests.toy:EverySite", "sites": ["mlp_output"]},
        "head": {"use": f"{here}:PlainHead"},
        "data": {
            "train": {"use": f"{here}:ColourSource"},
            "test": {"use": f"{here}:ColourSource", "start": 100, "count": 16},
        },
        "train": {
            "max_steps": 6,
            "learning_rate": 0.03,
            "per_device_train_batch_size": 4,
            "seed": 3,
            "disable_tqdm": True,
        },
        "evaluate": {"metrics": [f"{here}:Exact"], "generate": {"max_new_tokens": 2}},
    }
    for name, block in blocks.items():
        merged = {**base[name], **block}
        base[name] = {key: value for key, value in merged.items() if value is not None}
    return base


def untrained(folder: Path) -> MultimodalModel:
    """The recipe's model, its LM written to a folder."""
    torch.manual_seed(1)
    return compose(recipe(save_lm(folder)), allow_code=True)


def write_media(folder, numbers):
    """Makes the paths of these samples' media files under a folder."""
    for number in numbers:
        path = folder / f"c{number % 4}" / str(number)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"medium {number}")
