"""What every fusion owes to generation: neither cache, beams, padding nor neighbours change it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmadapt.generation.candidates import Pair, log_likelihoods
from mmadapt.testing.case import (
    FusionCase,
    assert_close,
    difference,
    generated,
    one_row,
)


class GenerationContract(FusionCase):
    """Cached and uncached, greedy and beams, padded and alone, with and without media."""

    def test_media_matter(self, family: str) -> None:
        """Other media give other logits; generated texts vary."""
        model = self.join(family)
        first, second = self.batch(model), self.batch(model, seed=1)
        a, b = generated(model, first), generated(model, second)
        changed = [difference(x[0], y[0]) for x, y in zip(a[1], b[1], strict=True)]
        assert min(changed) > self.effect, f"other media change the logits by only {changed}"
        distinct = len(set(a[0].flatten().tolist()))
        assert distinct >= 4, f"texts of only {distinct} distinct tokens hide mistakes"

    def test_cache_changes_nothing(self, family: str) -> None:
        """Greedy: the logits of every step are those of a full forward."""
        model = self.join(family)
        batch = self.batch(model)
        cached, uncached = (generated(model, batch, use_cache=use) for use in (True, False))
        assert torch.equal(cached[0], uncached[0]), "cached and uncached texts differ"
        assert_close(cached[1], uncached[1], self.tolerance, "cached and uncached logits differ")

    def test_static_cache_changes_nothing(self, family: str) -> None:
        """A cache of fixed size gives the texts and logits of a growing one, beams too."""
        model = self.join(family)
        if not all(fusion.causal for fusion in model.fusions.values()):
            return  # no cache to compare
        batch = self.batch(model, side="left")
        for beams in (1, 3):
            growing = generated(model, batch, num_beams=beams)
            fixed = generated(model, batch, num_beams=beams, cache_implementation="static")
            assert torch.equal(growing[0], fixed[0]), "static and dynamic cache give other texts"
            assert_close(growing[1], fixed[1], self.tolerance, "logits of a static cache differ")

    def test_beams(self, family: str) -> None:
        """Beams: equal with and without cache, and equal to every sample's own search."""
        model = self.join(family)
        batch, options = self.batch(model), {"num_beams": 3, "num_return_sequences": 2}
        cached, uncached = (
            generated(model, batch, use_cache=use, **options) for use in (True, False)
        )
        assert torch.equal(cached[0], uncached[0]), "cached and uncached beams differ"
        assert_close(cached[1], uncached[1], self.tolerance, "cached and uncached logits differ")
        assert_close(cached[2], uncached[2], self.tolerance, "cached and uncached scores differ")
        for row in range(len(batch["input_ids"])):
            ids, _, scores = generated(model, one_row(batch, row), **options)
            own = slice(2 * row, 2 * row + 2)
            assert torch.equal(cached[0][own], ids), f"beams of sample {row} depend on the batch"
            assert_close(cached[2][own], scores, self.tolerance, "scores depend on the batch")

    def test_candidates_from_the_cache(self, family: str) -> None:
        """Several candidates behind cached prompts score as each does in a whole text."""
        model = self.join(family)
        batch = self.batch(model)
        pairs = [Pair(row, [7 + 3 * row, 5, 9][:size]) for row in (1, 0, 1) for size in (3, 1, 2)]
        if not all(fusion.causal for fusion in model.fusions.values()):
            return  # no cache to compare
        cached, whole = (
            log_likelihoods(model, batch, pairs, use_cache=use) for use in (None, False)
        )
        assert_close(cached, whole, 3 * self.tolerance, "candidates' scores differ")

    def test_padding_changes_nothing(self, family: str, side: str) -> None:
        """Each sample of a padded batch equals itself alone: all logits, and the generated text."""
        model = self.join(family)
        batch = self.batch(model, side=side)
        together, (ids, logits, _) = _real_logits(model, batch), generated(model, batch)
        for row, of_row in enumerate(together):
            alone = one_row(batch, row)
            own_ids, own_logits, _ = generated(model, alone)
            expected = _real_logits(model, alone)[0]
            assert_close(of_row, expected, self.tolerance, f"padding changes sample {row}")
            assert torch.equal(ids[row], own_ids[0]), f"padding changes the text of sample {row}"
            assert_close(logits[row], own_logits[0], self.tolerance, "padding changes a step")

    def test_samples_without_media(self, family: str) -> None:
        """Media of some samples leave the others as they are in a batch without any media."""
        model = self.join(family)
        batch = self.batch(model)
        without = {key: value for key, value in batch.items() if key != "media"}
        for inputs in batch["media"].values():
            inputs["item"] = inputs["item"].clone()
            inputs["item"][1] = -1
        mixed, (ids, _, _) = _real_logits(model, batch), generated(model, batch)
        bare = _real_logits(model, without)
        none_ids = generated(model, without)[0]
        assert_close(mixed[1], bare[1], self.tolerance, "a sample without media sees others'")
        assert torch.equal(ids[1], none_ids[1]), "a sample without media sees others' in generation"
        for row in (0, 2):
            expected = _real_logits(model, one_row(batch, row))[0]
            assert_close(mixed[row], expected, self.tolerance, "an absent medium changes others")
        assert difference(mixed[0][-1], bare[0][-1]) > self.effect, "media make no difference"

    def test_padded_items_are_not_read(self, family: str) -> None:
        """Whatever stands in a padded item (a frame that a sample lacks) changes nothing."""
        model = self.join(family)
        batch = self.batch(model)
        for inputs in batch["media"].values():
            inputs["values"] = torch.cat([inputs["values"]] * 2, dim=1)
            absent = torch.full_like(inputs["item"], -1)
            inputs["item"] = torch.cat([inputs["item"], absent], dim=1)
            inputs["item"][0] = inputs["item"][0].clamp_min(0)  # the first sample has all items
        clean = _real_logits(model, batch)
        for inputs in batch["media"].values():
            noise = torch.randn_like(inputs["values"], dtype=torch.float32)
            absent = (inputs["item"] < 0).view(*inputs["item"].shape, *[1] * (noise.ndim - 2))
            inputs["values"] = torch.where(absent, noise.to(inputs["values"]), inputs["values"])
        for of_clean, of_noisy in zip(clean, _real_logits(model, batch), strict=True):
            assert_close(of_clean, of_noisy, self.tolerance, "padded items change the logits")

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Adds the sides of padding."""
        super().pytest_generate_tests(metafunc)
        if "side" in metafunc.fixturenames:
            metafunc.parametrize("side", ("left", "right"))


@torch.no_grad()
def _real_logits(model: Any, batch: dict) -> list[Tensor]:
    """Per sample the logits (real, v) of a forward at all positions that are not padding."""
    output = model(**batch)
    return [
        logits[mask] for logits, mask in zip(output.logits, output.text.attention_mask, strict=True)
    ]
