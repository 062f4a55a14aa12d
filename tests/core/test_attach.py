"""Sites, chains, spans and the way out, on every LM family that the table of anatomies knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import BaseModel
from torch import nn

from mmadapt.anatomy import FAMILIES, find_anatomy, find_layers
from mmadapt.attach import Attachment
from mmadapt.contracts import Fusion, Rewrite
from mmadapt.errors import AttachError
from mmadapt.types import State, TextInputs
from tests.tiny import LAYERS, LM_CONFIGS, VOCAB, TinyEncoder, context, tiny_lm

SIDE_BRANCHES = {"attention_output", "mlp_output"}
# Shapes of a family that differ in where the residual branches meet.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in LM_CONFIGS},
    "opt-post-norm": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
    "neox-sequential": ("gpt_neox", {"use_parallel_residual": False}),
    "stablelm-parallel": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
    "falcon-sequential": ("falcon", {"parallel_attn": False}),
    "falcon-new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-alibi": ("falcon", {"alibi": True}),
    "llama-eager": ("llama", {"attn_implementation": "eager"}),
}


class Acting(Fusion):
    """Does what functions say: `Acting(lm, mlp_output=lambda i, x, y, state: y)`."""

    Config = BaseModel

    def __init__(self, lm, name="acting", at=None, **methods):
        super().__init__(None, context(lm, {"image": TinyEncoder()}, name))
        self.at, self.methods = at, methods
        for site, method in methods.items():
            setattr(self, site, method)

    def layers(self, num_layers):
        return range(num_layers) if self.at is None else self.at

    def sites(self):
        return set(self.methods)


def variant(name):
    family, options = VARIANTS[name]
    return tiny_lm(family, **options)


def layers_of(lm):
    return find_layers(lm, find_anatomy(lm.config.model_type))


def prompt(rows=2, length=9):
    ids = torch.randint(4, VOCAB, (rows, length), generator=torch.Generator().manual_seed(3))
    return TextInputs(ids, ids > 0, None, torch.zeros(rows, 1, dtype=torch.long))


@torch.no_grad()
def run(lm, *fusions, text=None):
    text = text or prompt()
    attachment = Attachment(lm, fusions)
    try:
        with attachment.bind(State(text)):
            return lm(input_ids=text.input_ids, attention_mask=text.attention_mask.long()).logits
    finally:
        attachment.detach()


def record_layers(lm):
    """(input, output) of each layer in the forwards to come."""
    seen = []

    def hook(_, args, kwargs, output):
        hidden = args[0] if args else kwargs["hidden_states"]
        seen.append((hidden, output[0] if isinstance(output, tuple) else output))

    for layer in layers_of(lm):
        layer.register_forward_hook(hook, with_kwargs=True)
    return seen


def test_every_family_of_the_table_is_tested():
    assert set(LM_CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "opt-post-norm"])
def test_the_two_outputs_are_all_that_a_layer_adds(name):
    lm = variant(name)
    seen = record_layers(lm)
    nothing = {site: lambda i, x, y, state: torch.zeros_like(y) for site in SIDE_BRANCHES}
    run(lm, Acting(lm, **nothing))
    assert len(seen) == LAYERS
    for before, after in seen:
        assert torch.equal(before, after)


@pytest.mark.parametrize("site", sorted(SIDE_BRANCHES))
@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_of_a_site_are_those_of_its_input(name, site):
    """`x` and `y` are true to one another: running the site's modules on `x` gives `y`."""
    lm = variant(name)
    anatomy, pairs = find_anatomy(lm.config.model_type), []

    def keep(i, x, y, state):
        pairs.append((x, y.clone()))  # Falcon adds to it in place
        return y

    run(lm, Acting(lm, at=[1], **{site: keep}))
    ((x, y),) = pairs
    assert x.shape == y.shape == (2, 9, lm.config.hidden_size)
    if site == "mlp_output":
        layer = layers_of(lm)[1]
        with torch.no_grad():
            if lm.config.model_type == "opt":
                expected = layer.fc2(torch.relu(layer.fc1(x)))
            else:
                expected = layer.mlp(x)
                if anatomy.mlp_output != "mlp":
                    expected = layer.post_feedforward_layernorm(expected)
        torch.testing.assert_close(y, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("part", ["attention", "mlp"])
@pytest.mark.parametrize("name", VARIANTS)
def test_inputs_are_what_the_sites_read(name, part):
    """Changing the input of a site changes `x` of its output, and only from that layer on."""
    lm = variant(name)

    def inputs(amount):
        seen = []

        def keep(i, x, y, state):
            seen.append(x)
            return y

        def shift(i, x, state):
            return x + amount if i == 2 else x

        run(lm, Acting(lm, **{f"{part}_input": shift, f"{part}_output": keep}))
        return seen

    plain, changed = inputs(0.0), inputs(0.5)
    assert torch.equal(plain[0], changed[0]) and torch.equal(plain[1], changed[1])
    torch.testing.assert_close(changed[2], plain[2] + 0.5, atol=1e-6, rtol=0)
    assert not torch.equal(plain[3], changed[3])


@pytest.mark.parametrize("name", VARIANTS)
def test_layer_input_is_the_hidden_state_before_the_layer(name):
    lm = variant(name)
    seen = record_layers(lm)
    run(lm, Acting(lm, at=[2], layer_input=lambda i, h, mask, state: (torch.zeros_like(h), mask)))
    assert not seen[2][0].any()
    assert seen[1][1].any()


@pytest.mark.parametrize("name", VARIANTS)
def test_inserted_embeddings_equal_the_lms_own_way(name):
    """Tokens in a span give what `inputs_embeds` gives, at the end, the start and amid a text."""
    lm, text = variant(name), prompt()
    own = torch.randn(2, 3, lm.get_input_embeddings().weight.shape[1])
    text = text.insert("acting", torch.tensor([[0, 4, 9]] * 2), embeds=own)
    found = run(lm, Acting(lm), text=text)
    with torch.no_grad():
        by_hand = lm.get_input_embeddings()(text.input_ids)
        by_hand[text.spans["acting"] > 0] = own.flatten(0, 1)
        expected = lm(inputs_embeds=by_hand, attention_mask=text.attention_mask.long()).logits
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_fusions_act_in_order_at_every_site():
    lm = tiny_lm("llama")
    seen = []
    double = Acting(lm, "double", mlp_output=lambda i, x, y, state: 2 * y)
    add = Acting(lm, "add", mlp_output=lambda i, x, y, state: y + 1)
    look = Acting(lm, "look", mlp_output=lambda i, x, y, state: seen.append(y) or y)
    run(lm, look, double, look, add, look)
    for first, second, third in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
        assert torch.equal(second, 2 * first) and torch.equal(third, 2 * first + 1)


@pytest.mark.parametrize("site", ["attention_output", "mlp_output", "mlp_input"])
@pytest.mark.parametrize("name", VARIANTS)
def test_results_that_backward_reads_again_are_safe(name, site):
    """Whatever a family does to a branch in place, the gradients of a fusion stay right."""
    lm, text = variant(name), prompt()
    gate = torch.zeros(lm.config.hidden_size, requires_grad=True)

    def method(i, x, *y_and_state):
        return torch.exp(x * gate)  # the backward pass of exp reads its result

    acting = Acting(lm, **{site: method})
    attachment = Attachment(lm, [acting])
    with attachment.bind(State(text)):
        lm(input_ids=text.input_ids).logits.square().sum().backward()
    assert gate.grad is not None and gate.grad.abs().max() > 0


def test_masks_that_a_fusion_changes_reach_the_attention():
    lm, text = tiny_lm("llama"), prompt()
    text.attention_mask[1, -1] = False  # padding, so that sdpa gets a mask at all

    def hide_third(i, hidden, mask, state):
        mask = mask.clone()
        mask[..., 3:, 2] = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        return hidden, mask

    hidden = run(lm, Acting(lm, layer_input=hide_third), text=text)
    other_ids = text.input_ids.clone()
    other_ids[:, 2] = 7
    other = TextInputs(other_ids, text.attention_mask, None, text.media_positions)
    changed = run(lm, Acting(lm, layer_input=hide_third), text=other)
    assert torch.equal(hidden[:, 3:], changed[:, 3:])
    assert not torch.equal(run(lm, text=text)[:, 3:], run(lm, text=other)[:, 3:])


def test_only_the_wanted_layers_and_sites_get_hooks():
    lm = tiny_lm("llama")
    acting = Acting(lm, at=[1, 3], mlp_output=lambda i, x, y, state: y)
    attachment = Attachment(lm, [acting])
    hooked = [bool(layer.mlp._forward_hooks) for layer in lm.model.layers]
    assert hooked == [False, True, False, True]
    assert not any(layer._forward_pre_hooks for layer in lm.model.layers)
    attachment.detach()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.modules())


class Rewriting(Acting):
    """Writes down when it edits and undoes; `fail` breaks off."""

    def __init__(self, lm, name, log, fail=False):
        super().__init__(lm, name, mlp_output=lambda i, x, y, state: y)
        self.log, self.fail = log, fail

    def rewrite(self, encoders, lm):
        if self.fail:
            raise AttachError("no bottleneck here")
        self.log.append(self.name)
        return Rewrite(frozenset({"image"}), lambda: self.log.append(f"undo {self.name}"))


def test_edits_are_undone_in_reverse():
    lm, log = tiny_lm("opt"), []
    attachment = Attachment(lm, [Rewriting(lm, "a", log), Rewriting(lm, "b", log)])
    assert attachment.rewritten == {"image"}
    attachment.detach()
    attachment.detach()
    assert log == ["a", "b", "undo b", "undo a"]
    assert attachment.rewritten == set()


def test_a_failed_attachment_leaves_nothing_behind():
    lm, log = tiny_lm("opt"), []
    with pytest.raises(AttachError, match="no bottleneck here"):
        Attachment(lm, [Rewriting(lm, "a", log), Rewriting(lm, "b", log, fail=True)])
    assert log == ["a", "undo a"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.modules())


@pytest.mark.parametrize("layer", [-1, LAYERS])
def test_a_layer_that_is_not_there_is_named(layer):
    lm = tiny_lm("opt")
    with pytest.raises(AttachError, match=f"'acting' acts on layer {layer}, but the LM has 4"):
        Attachment(lm, [Acting(lm, at=[layer], mlp_input=lambda i, x, state: x)])


def test_the_state_lives_as_long_as_backward_may_need_it():
    lm, text = tiny_lm("llama"), prompt()
    attachment = Attachment(lm, [])
    with torch.no_grad(), attachment.bind(State(text)):
        lm(input_ids=text.input_ids)
    assert attachment.state is None
    with attachment.bind(State(text)) as state:
        lm(input_ids=text.input_ids)
    assert attachment.state is state


def test_a_failing_forward_leaves_the_plain_lm():
    lm, text = tiny_lm("llama"), prompt()
    expected = run(lm, text=text)

    def fail(i, x, state):
        raise ValueError("broken")

    attachment = Attachment(lm, [Acting(lm, mlp_input=fail)])
    with pytest.raises(ValueError, match="broken"), attachment.bind(State(text)):
        lm(input_ids=text.input_ids)
    with torch.no_grad():
        assert torch.equal(lm(input_ids=text.input_ids).logits, expected)


def test_an_unknown_family_says_what_to_register():
    lm: Any = nn.Linear(2, 2)
    lm.config = tiny_lm("llama").config
    lm.config.model_type = "marvin"
    with pytest.raises(AttachError, match=r"'marvin' are unknown here; known: falcon, .*register"):
        Attachment(lm, [])
