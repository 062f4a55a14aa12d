"""What every fusion owes to the LM it is hooked into: it can leave without a trace, and return."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from mmadapt.adapters.checkpoint import load_into
from mmadapt.contracts import Encoder
from mmadapt.model import MultimodalModel
from mmadapt.testing.case import (
    FusionCase,
    assert_close,
    difference,
    gradients,
    with_labels,
)
from mmadapt.testing.tiny import context, tiny_lm


class AttachmentContract(FusionCase):
    """Detaching, the plain LM, saved adapters, precisions, devices and compilation.

    Attributes:
        compiles: whether the LM compiles as one graph with this fusion's hooks.
        half_tolerance: largest difference that an LM in bfloat16 may make to a probability.
    """

    compiles: bool = True
    half_tolerance: float = 0.05

    def test_detach_leaves_the_base(self, family: str) -> None:
        """After use and `detach`, logits are bit-equal to the LM's own; its keys never change."""
        lm = tiny_lm(family)
        keys, modules = list(lm.state_dict()), [type(module) for module in lm.modules()]
        model = self.join(family, lm=lm)
        batch = self.batch(model)
        before = _plain(lm, batch)  # hooked, but not bound
        model(**with_labels(batch)).loss.backward()
        model.generate_batch(**batch, max_new_tokens=2)
        assert list(lm.state_dict()) == keys, "the LM's state-dict keys change"
        assert [type(module) for module in lm.modules()] == modules, "the LM's modules change"
        model.attachment.detach()
        untouched = _plain(tiny_lm(family), batch)
        assert torch.equal(before, untouched), "an attached LM, called by itself, is not the base"
        assert torch.equal(_plain(lm, batch), untouched), "a detached LM is not the base"

    def test_direct_calls_are_the_plain_lm(self, family: str) -> None:
        """The LM called by itself, even between a forward and its backward, is the plain LM."""
        model = self.join(family).train()
        model.gradient_checkpointing_enable()
        batch = with_labels(self.batch(model))
        expected, base = gradients(model, batch), _plain(tiny_lm(family), batch)
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        loss = model(**batch).loss
        assert torch.equal(_plain(model.lm, batch), base), "a direct call is not the plain LM"
        loss.backward()
        for name, parameter in model.trainable_parameters().items():
            if name in expected:
                assert parameter.grad is not None
                assert_close(parameter.grad, expected[name], 1e-6, f"{name}: the call changed it")

    def test_saved_and_loaded_is_the_same(self, family: str, tmp_path: Path) -> None:
        """An adapter loaded into another random start gives the same bits."""
        model, other = self.join(family), self.join(family, seed=1)
        batch = self.batch(model)
        model.save_pretrained(tmp_path / "adapter")
        expected, start = _logits(model, batch), _logits(other, batch)
        assert difference(expected, start) > 0, "two random starts are the same"
        load_into(other, tmp_path / "adapter")
        assert torch.equal(_logits(other, batch), expected), "the adapter did not come back whole"

    def test_pickles_and_its_options_are_json(self) -> None:
        """A fusion goes to other processes, its options into the adapter's recipe and back."""
        fusion = self.make(context(tiny_lm(self.families[0]), self.encoders()))
        arrived = pickle.loads(pickle.dumps(fusion))
        assert arrived.context == fusion.context
        for name, tensor in fusion.state_dict().items():
            assert torch.equal(arrived.state_dict()[name], tensor), f"{name} changes in pickling"
        text = json.dumps(fusion.config.model_dump(mode="json"))
        assert type(fusion.config).model_validate_json(text) == fusion.config, (
            "the options do not come back from the recipe that is saved with an adapter"
        )

    def test_pieces_are_reduced_alike(self) -> None:
        """Long media have the same features whole and in unequal pieces."""
        model = self.join(self.families[0])
        for name, inputs in self.batch(model)["media"].items():
            shape, encoder = inputs["item"].shape, cast(Encoder, model.encoders[name])
            longer: Any = {
                key: torch.cat([x, x.flip(0), x], dim=1) if x.shape[:2] == shape else x
                for key, x in inputs.items()
            }
            with torch.no_grad():
                encoder.items_at_once = None
                ((whole,),) = (found.values() for found in model.encode({name: longer}).values())
                encoder.items_at_once = max(1, 2 * shape[1])
                ((pieces,),) = (found.values() for found in model.encode({name: longer}).values())
            assert torch.equal(whole.mask, pieces.mask) and torch.equal(whole.item, pieces.item)
            for level, other in zip(whole.levels, pieces.levels, strict=True):
                difference = (level - other) * whole.mask[..., None]
                assert_close(difference, 0 * difference, self.tolerance, f"pieces of {name} differ")

    def test_half_precision_lm(self, family: str) -> None:
        """A float32 fusion beside a bfloat16 LM trains, generates, and stays close to float32."""
        lm: Any = tiny_lm(family)
        full, half = self.join(family), self.join(family, lm=lm.to(torch.bfloat16))
        batch = self.batch(full)
        wanted, found = (_logits(model, batch).float() for model in (full, half))
        assert_close(found.softmax(-1), wanted.softmax(-1), self.half_tolerance, "bfloat16 differs")
        found_gradients = gradients(half.train(), with_labels(batch))
        assert found_gradients, "nothing learns beside an LM in bfloat16"
        assert all(value.isfinite().all() for value in found_gradients.values())
        assert half.generate_batch(**batch, max_new_tokens=3).shape[1] == 3

    def test_autocast(self, family: str) -> None:
        """Under autocast to bfloat16, as `train.bf16` runs, it learns and stays near float32."""
        model = self.join(family)
        batch = self.batch(model)
        wanted = _logits(model, batch).float()
        with torch.autocast("cpu", torch.bfloat16):
            found = _logits(model, batch).float()
            learnt = gradients(model.train(), with_labels(batch))
        assert_close(found.softmax(-1), wanted.softmax(-1), self.half_tolerance, "autocast differs")
        assert learnt and all(value.isfinite().all() for value in learnt.values()), (
            "gradients under autocast are missing or not finite; keep sums and gates in float32"
        )

    def test_meta_device(self, family: str) -> None:
        """A forward without any values gives the right shapes, as `mmadapt check` needs."""
        model = self.join(family, attn_implementation="eager")  # sdpa reads the mask's values
        batch = self.batch(model)
        expected = _logits(model, batch).shape
        on_meta = torch.utils._pytree.tree_map_only(Tensor, lambda x: x.to("meta"), batch)
        assert _logits(model.to("meta"), on_meta).shape == expected

    def test_compiles_to_one_graph(self) -> None:
        """The LM compiles whole, and other lengths of text need no other graph."""
        if not self.compiles:
            pytest.skip("this fusion says that it does not compile")
        model = self.join(self.families[0])
        batch = self.batch(model)
        batches = [_shorter(batch, cut) for cut in (0, 1, 2)]
        expected = [_logits(model, cut) for cut in batches]
        graphs = 0

        def count(graph: Any, _: Any) -> Any:
            nonlocal graphs
            graphs += 1
            return graph

        # By default dynamo holds whatever hooks of torch's own modules read to be of fixed shape.
        with torch._dynamo.config.patch(force_nn_module_property_static_shapes=False):
            torch._dynamo.reset()
            model.lm.compile(backend=count, fullgraph=True, dynamic=True)
            found = [_logits(model, batches[0])]
            after_first = graphs
            found += [_logits(model, cut) for cut in batches[1:]]
        for own, eager in zip(found, expected, strict=True):
            assert_close(own, eager, self.tolerance, "compiled and eager differ")
        assert graphs == after_first, f"other lengths compiled {graphs - after_first} more graphs"


@torch.no_grad()
def _logits(model: MultimodalModel, batch: dict) -> Tensor:
    logits = model(**batch).logits
    assert logits is not None
    return logits


def _plain(lm: Any, batch: dict) -> Tensor:
    with torch.no_grad():
        return lm(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def _shorter(batch: dict, cut: int) -> dict:
    length = batch["input_ids"].shape[1] - cut
    # Copies: dynamo guards on the base of a view, which a batch of a loader is not.
    text = {name: batch[name][:, :length].clone() for name in ("input_ids", "attention_mask")}
    return {**batch, **text}
