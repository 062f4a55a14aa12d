"""The fusion keeps the contract of all fusions, and starts as the plain LM."""

import pytest
import torch
from mmadapt_llama_adapter.fusion import LlamaAdapter, LlamaAdapterConfig

from mmadapt.contracts import FusionContext
from mmadapt.errors import AttachError
from mmadapt.testing import FusionContract
from mmadapt.testing.case import assert_close


class TestLlamaAdapter(FusionContract):
    """Everything that a fusion owes, on LMs with and without grouped heads and windows."""

    families = ("llama", "gemma3_text")

    def make(self, context: FusionContext) -> LlamaAdapter:
        """Two prompts in each of the upper three layers."""
        return LlamaAdapter(
            LlamaAdapterConfig(prompt_length=2, num_layers=3, num_levels=2), context
        )

    def test_starts_as_the_plain_lm(self, family: str) -> None:
        """With gates at zero the logits are those of the LM alone."""
        model = self.join(family)
        batch = self.batch(model)
        with torch.no_grad():
            model.fusions["fusion"].gates.zero_()
            found = model(**batch).logits
            model.attachment.detach()
            text = {name: batch[name] for name in ("input_ids", "attention_mask")}
            expected = model.lm(**text).logits
        real = batch["attention_mask"].bool()
        assert_close(found[real], expected[real], 1e-6, "closed gates change the LM")

    def test_one_softmax_over_prompts_alone(self) -> None:
        """By hand, for one head: what is added is the prompts' values by their own softmax."""
        model = self.join("llama")
        fusion, attention = model.fusions["fusion"], model.lm.model.layers[2].self_attn
        x = torch.randn(1, 5, 32)
        state = type("State", (), {"memories": {"fusion": torch.randn(1, 1, 32)}})()
        with torch.no_grad():
            fusion.gates[1] = torch.tensor([0.7, 0.0, 0.0, 0.0]).view(4, 1, 1)
            found = fusion.attention_output(2, x, torch.zeros_like(x), state)
            prompts = fusion.prompts[1] + state.memories["fusion"][0]
            q = attention.q_proj(x)[0, :, :8]
            k, v = attention.k_proj(prompts)[:, :8], attention.v_proj(prompts)[:, :8]
            weights = (q @ k.T / 8**0.5).softmax(dim=-1)
            read = torch.zeros(5, 32)
            read[:, :8] = torch.tanh(torch.tensor(0.7)) * (weights @ v)
            expected = attention.o_proj(read)
        assert_close(found[0], expected, 1e-5, "the gated attention differs from its equation")


def test_an_lm_without_such_projections_is_refused() -> None:
    """GPT-NeoX projects queries, keys and values at once."""
    with pytest.raises(AttachError, match="q_, k_, v_ and o_proj"):
        TestLlamaAdapter().join("gpt_neox")
