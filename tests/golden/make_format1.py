"""Records what the golden adapter of format 1 must give, by a forward without mmadapt.

    python tests/golden/make_format1.py

The adapter in `format1/` was trained by `mmadapt compare` on `recipes/compare/prefix.yaml` (100
steps, learning rate 3e-3, seed 0, image captions of the built-in world) and saved in format 1.
The pictures are those of the built-in world's test split. The forward below uses transformers and
safetensors alone: ViT tokens after the third of four blocks, Linear, GELU, Linear, between BOS and
the prompt, greedy decoding. Its captions and first logits go to `format1/expected.json`; the
pictures' true captions, which do not come from any model, stand beside them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import gelu, linear
from transformers import AutoModelForCausalLM, AutoTokenizer, ViTModel

HERE = Path(__file__).parent / "format1"
WEIGHTS = Path(__file__).parents[2] / "plugins" / "mmadapt_embedded" / "weights"
PROMPT = "a picture of"
LENGTH = 24


@torch.no_grad()
def main() -> None:
    """Writes `format1/expected.json`."""
    lm = AutoModelForCausalLM.from_pretrained(WEIGHTS / "lm").eval()
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "lm")
    vit = ViTModel.from_pretrained(WEIGHTS / "vit", add_pooling_layer=False).eval()
    tensors = load_file(HERE / "adapter.safetensors")
    part = {name.removeprefix("fusions.prefix.connectors.image."): t for name, t in tensors.items()}
    ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    words = lm.get_input_embeddings().weight
    expected = {}
    for file, truth in json.loads((HERE / "truth.json").read_text()).items():
        pixels = np.asarray(Image.open(HERE / file).convert("RGB"), np.float32) / 127.5 - 1
        values = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        tokens = vit(values, output_hidden_states=True).hidden_states[3][:, 1:]
        hidden = gelu(linear(tokens, part["0.weight"], part["0.bias"]))
        media = linear(hidden, part["2.weight"], part["2.bias"])
        row = torch.cat([words[[tokenizer.bos_token_id]][None], media, words[ids][None]], dim=1)
        said: list[int] = []
        first = None
        while len(said) < LENGTH:
            logits = lm(inputs_embeds=row).logits[0, -1]
            first = logits if first is None else first
            said.append(int(logits.argmax()))
            if said[-1] == tokenizer.eos_token_id:
                break
            row = torch.cat([row, words[said[-1:]][None]], dim=1)
        answer = tokenizer.decode(said, skip_special_tokens=True).strip()
        logits = [round(float(value), 5) for value in first]
        expected[file] = {"truth": truth, "answer": answer, "logits": logits}
    text = json.dumps(expected)
    (HERE / "expected.json").write_text(text + "\n")
    print({file: (one["truth"], one["answer"]) for file, one in expected.items()})


if __name__ == "__main__":
    main()
