"""Anatomies: from the table, from a plugin, and wrong ones."""

from __future__ import annotations

import pytest

from mmadapt.anatomy import Anatomy, find_anatomy, find_layers
from mmadapt.attach import Attachment
from mmadapt.contracts.fusion import SITES
from mmadapt.errors import AttachError
from mmadapt.registry import get_registry
from tests.tiny import TinyEncoder, context, tiny_lm
from tests.toy import EverySite, EverySiteConfig


@pytest.fixture
def register(plugin_folder):
    """Registers an anatomy as a plugin would, for one test."""

    def add(**fields):
        (plugin_folder / "a_family.py").write_text(
            f"from mmadapt import Anatomy\n\nMINE = Anatomy(**{fields})\n"
        )
        get_registry().register("lm_anatomy", "mine", "a_family:MINE")

    return add


def renamed(anatomy_name):
    lm = tiny_lm("llama")
    lm.config.model_type = anatomy_name
    return lm


def test_a_plugin_adds_a_family(register):
    register(attention="self_attn")
    assert find_anatomy("mine") == Anatomy(attention="self_attn")
    lm = renamed("mine")
    Attachment(lm, [EverySite(EverySiteConfig(), context(lm, {"image": TinyEncoder()}))]).detach()


@pytest.mark.parametrize("field", ["layers", "attention", "mlp_input", "mlp_output"])
def test_a_wrong_anatomy_names_the_module_that_is_not_there(register, field):
    register(**{field: "nowhere"})
    lm = renamed("mine")
    fusion = EverySite(EverySiteConfig(sites=SITES), context(lm, {"image": TinyEncoder()}))
    with pytest.raises(AttachError, match=r"Llama\w+ has no '.*nowhere'"):
        Attachment(lm, [fusion])
    assert not any(module._forward_hooks for module in lm.modules())


def test_layers_must_be_a_list_of_layers():
    with pytest.raises(AttachError, match="'model' of LlamaForCausalLM is no list of layers"):
        find_layers(tiny_lm("llama"), Anatomy(layers="model"))
