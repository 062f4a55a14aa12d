"""What every fusion owes to training: it alone learns, and from the LM's own loss."""

from __future__ import annotations

from typing import Any

import torch

from mmadapt.anatomy import find_anatomy, find_layers
from mmadapt.testing.case import (
    FusionCase,
    assert_close,
    calls_of,
    copies,
    gradients,
    lm_of,
    with_labels,
)


class TrainingContract(FusionCase):
    """Gradients, losses and checkpointing."""

    def test_only_the_adapter_learns(self, family: str) -> None:
        """All its parameters get gradients, nothing else does, frozen weights keep their bits."""
        model = self.join(family).train()
        before, found = copies(model), gradients(model, with_labels(self.batch(model)))
        trained = set(model.trainable_parameters())
        assert trained, "the fusion has nothing to train"
        assert all(name.startswith("fusions.") for name in trained), f"trained: {sorted(trained)}"
        assert not (set(found) - trained), f"frozen, yet with a gradient: {set(found) - trained}"
        idle = {name for name in trained if name not in found or not found[name].any()}
        declared = {name for name in trained if _local(name) in self.without_gradient}
        assert idle == declared, (
            f"without a gradient: {sorted(idle)}; declared so: {sorted(declared)}"
        )
        torch.optim.AdamW(model.trainable_parameters().values(), lr=0.01).step()
        for name, tensor in model.state_dict().items():
            if not name.startswith("fusions."):
                assert torch.equal(tensor, before[name]), f"{name} is frozen but changed"
        moved = {
            name for name in trained - idle if torch.equal(model.state_dict()[name], before[name])
        }
        assert not moved, f"a step left these unchanged: {sorted(moved)}"

    def test_loss_is_the_lms_own(self, family: str) -> None:
        """Labelled rows alone give the LM's own loss on full logits, sum over any item count."""
        model = self.join(family)
        batch = with_labels(self.batch(model))
        for items in (None, 7):
            few = model(**batch, num_items_in_batch=items)
            full = model(**batch, num_items_in_batch=items, return_logits="all")
            options: dict[str, Any] = {} if items is None else {"num_items_in_batch": items}
            own = lm_of(model).loss_function(
                full.logits, full.text.labels, vocab_size=full.logits.shape[-1], **options
            )
            fusions: Any = model.fusions.values()
            extra = [fusion.aux_loss(model.attachment.state) for fusion in fusions]
            own = own + sum(value for value in extra if value is not None)
            assert_close(few.loss, own, 1e-5, f"the loss for {items} items differs from the LM's")
            assert_close(few.loss, full.loss, 1e-5, "the loss depends on return_logits")
            labelled = (full.text.labels != -100).sum()
            assert few.logits.shape[:2] == (1, labelled), "logits at positions without a label"

    def test_checkpointing_keeps_gradients(self, family: str) -> None:
        """Recomputed layers give the same gradients, and layers really are recomputed."""
        model = self.join(family).train()
        batch = with_labels(self.batch(model))
        anatomy = find_anatomy(lm_of(model).config.get_text_config().model_type)
        last = find_layers(model.lm, anatomy)[-1].get_submodule(anatomy.attention)
        with calls_of(last) as calls:
            plain = gradients(model, batch)
            assert calls() == 1, "the LM ran more than once without checkpointing"
        model.gradient_checkpointing_enable()
        with calls_of(last) as calls:
            checkpointed = gradients(model, batch)
            assert calls() == 2, "gradient checkpointing did not recompute the last layer"
        assert checkpointed.keys() == plain.keys()
        for name, gradient in plain.items():
            scale = max(1.0, float(gradient.abs().max()))
            assert_close(
                checkpointed[name] / scale, gradient / scale, 1e-6, f"{name}: gradients differ"
            )


def _local(name: str) -> str:
    """A parameter's name inside its fusion: `fusions.adem.gate` is `gate`."""
    return name.split(".", 2)[2]
