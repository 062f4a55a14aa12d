"""The contract that every fusion keeps: dense and with experts, K/V kept or made at each step."""

from __future__ import annotations

from mmadapt.contracts import Encoder, FusionContext
from mmadapt.testing import FusionContract
from mmadapt_evlm.config import EvlmConfig
from mmadapt_evlm.fusion import EvlmFusion
from tests.tiny import TinyEncoder


class TestDenseKeepsTheContract(FusionContract):
    noise = 0.2

    def make(self, context: FusionContext) -> EvlmFusion:
        config = EvlmConfig(num_levels=4, head_dim=8, num_tokens=3, media_norm="layernorm")
        return EvlmFusion(config, context)

    def encoders(self) -> dict[str, Encoder]:
        return {"image": TinyEncoder(items=2)}


class TestExpertsKeepTheContract(FusionContract):
    families = ("mistral",)
    noise = 0.2
    compiles = False  # how many tokens an expert gets is read from the data

    def make(self, context: FusionContext) -> EvlmFusion:
        moe = {"z_loss_coefficient": 0.01, "num_replicas": 2, "num_slices": 2, "top_k": 2}
        config = EvlmConfig(
            num_levels=2,
            head_dim=8,
            num_tokens=2,
            every=2,
            levels="concat",
            qk_norm=True,
            zero_pad=2,
            norm="rmsnorm",
            share_tokens=False,
            cache_kv=False,
            gradient_checkpointing=True,
            visible="all_previous",
            moe=moe,
        )
        return EvlmFusion(config, context)

    def encoders(self) -> dict[str, Encoder]:
        return {"image": TinyEncoder(), "video": TinyEncoder(items=2, width=16)}
