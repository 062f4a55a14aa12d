"""A fusion at every site of every LM family keeps the contract."""

import pytest
import torch
from torch import nn

from mmadapt.testing import FusionContract
from mmadapt.testing.tiny import LM_CONFIGS, TinyEncoder
from tests.core.testing.flaws import verdict
from tests.toy import EverySite, EverySiteConfig


class TestEverySite(FusionContract):
    families = tuple(LM_CONFIGS)

    def make(self, context):
        return EverySite(EverySiteConfig(), context)


class TestSound(FusionContract):
    """One site without tokens of its own; `fusion` is replaced by flawed ones below."""

    fusion = EverySite
    families = ("llama",)

    def make(self, context):
        return self.fusion(EverySiteConfig(sites=("mlp_output",), token=False), context)

    def encoders(self):
        return {"image": TinyEncoder(items=2)}


class Deaf(EverySite):
    def prepare(self, features, state):
        memory = super().prepare(features, state)
        return {"mean": 0 * memory["mean"]}


class PrefillOnly(EverySite):
    def mlp_output(self, i, x, y, state):
        return super().mlp_output(i, x, y, state) if state.past_len == 0 else y


class Mixing(EverySite):
    def prepare(self, features, state):
        mean = super().prepare(features, state)["mean"]
        return {"mean": mean.mean(dim=0, keepdim=True).expand_as(mean)}


class KeepsMemory(EverySite):
    def prepare(self, features, state):
        self.kept = super().prepare(features, state)["mean"]
        return None

    def mlp_output(self, i, x, y, state):
        rows = y.shape[0] // self.kept.shape[0]
        return y + torch.tanh(x) * self.gates["mlp_output"][i] * self.kept.repeat(rows, 1, 1)


class ReadsPadding(EverySite):
    def prepare(self, features, state):
        [media] = features.values() or [None]
        if media is None:
            return {"mean": torch.zeros(1, 1, self.context.hidden_size)}
        return {"mean": self.project(media.levels[0].mean(dim=(1, 2)))[:, None]}


class Idle(EverySite):
    def __init__(self, config, context):
        super().__init__(config, context)
        self.unused = nn.Linear(2, 2)


class Leaves(EverySite):
    """Changes the LM and does not change it back."""

    def rewrite(self, encoders, lm):
        with torch.no_grad():
            lm.get_output_embeddings().weight.mul_(1.5)


class Recounts(EverySite):
    """Does something else when a layer is recomputed."""

    def mlp_output(self, i, x, y, state):
        seen = state.aux.setdefault("seen", {})
        seen[i] = seen.get(i, 0) + 1
        return super().mlp_output(i, x, y, state) * torch.tensor(float(seen[i]))


class Local(EverySite):
    def __init__(self, config, context):
        super().__init__(config, context)
        self.act = lambda x: x


class Counts(EverySite):
    """Changes a Python number at every call, which the compiled graph depends on."""

    calls = 0

    def mlp_output(self, i, x, y, state):
        self.calls = self.calls + 1
        return super().mlp_output(i, x, y, state) * (1 if self.calls < 10**6 else 2)


class Overflows(EverySite):
    def mlp_output(self, i, x, y, state):
        return super().mlp_output(i, x, y, state) + 0 * (1e38 * x.float().pow(2) * 1e4).sum()


FLAWS = [
    (Deaf, "media_matter", "other media change the logits by only"),
    (PrefillOnly, "cache_changes_nothing", "cached and uncached"),
    (KeepsMemory, "beams", "cached and uncached"),
    (Mixing, "padding_changes_nothing", "padding changes sample"),
    (ReadsPadding, "padded_items_are_not_read", "padded items change the logits"),
    (ReadsPadding, "samples_without_media", "sees others'"),
    (Idle, "only_the_adapter_learns", "fusions.fusion.unused.weight"),
    (Leaves, "detach_leaves_the_base", "is not the base"),
    (Recounts, "checkpointing_keeps_gradients", "gradients differ"),
    (Local, "pickles_and_its_options_are_json", "pickle"),
    (Counts, "compiles_to_one_graph", "compiled"),
    (Overflows, "half_precision_lm", "bfloat16 differs"),
]


@pytest.mark.parametrize(("fusion", "test", "message"), FLAWS)
def test_a_flaw_is_told(fusion, test, message, tmp_path):
    arguments = {"padding_changes_nothing": ["right"]}.get(test, [])
    takes_family = test not in ("pickles_and_its_options_are_json", "compiles_to_one_graph")
    families = ["llama"] if takes_family else []
    try:
        found = verdict(TestSound, f"test_{test}", tmp_path, *families, *arguments, fusion=fusion)
    except (AttributeError, TypeError) as error:  # pickle's own word
        found = str(error)
    assert found is not None, "the flaw passes"
    assert message in found
