"""The contract of an encoder, as a test class to inherit."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import torch
from torch import nn

from mmadapt.contracts import encoder_info
from mmadapt.testing.case import copies
from mmadapt.testing.encoder_case import assert_like, copied, encode
from mmadapt.testing.media import batch_of, padding_of, scrambled
from mmadapt.testing.processor import ProcessorContract
from mmadapt.types import Features, LevelSpec, MediaInputs


class EncoderContract(ProcessorContract):
    """Every promise of an encoder and its processor, tested on noise in seconds.

    A subclass names the class and makes the options of a small one; see `EncoderCase` for
    tolerances and for other media.

    Example:
        class TestMyEncoder(EncoderContract):
            encoder = MyEncoder

            def config(self):
                save_a_tiny_model(self.folder)
                return MyConfig(model=str(self.folder))
    """

    def test_info_is_the_loaded_encoder(self) -> None:
        """What fusions are built from, before any weights are loaded, is what is then loaded."""
        promised, loaded = self.encoder.info(self.options()), encoder_info(self.built())
        assert promised == loaded, f"info() says {promised}, the loaded encoder is {loaded}"

    def test_shapes(self) -> None:
        """Levels (b, t, n, e) in the order asked for, mask (b, t, n), a grid behind the prefix."""
        encoder = self.built()
        inputs, levels = self.batch(encoder), self.wanted(encoder)
        features = encode(encoder, inputs, levels)
        assert len(features.levels) == len(levels), "one tensor is wanted for each level asked for"
        b, t = features.item.shape
        for tensor in features.levels:
            assert tensor.ndim == 4 and tensor.shape[:2] == (b, t), (
                f"a level is {tuple(tensor.shape)}; it must be (b={b}, t={t}, n, e)"
            )
            assert tensor.shape[3] == encoder.hidden_size, (
                f"tokens are {tensor.shape[3]} wide, but hidden_size is {encoder.hidden_size}"
            )
            assert tensor.is_floating_point() and bool(tensor.isfinite().all())
        n = features.levels[0].shape[2]
        assert features.mask.shape == (b, t, n) and features.mask.dtype == torch.bool, (
            f"the mask is {tuple(features.mask.shape)} {features.mask.dtype}, not ({b}, {t}, {n}) "
            "bool"
        )
        files = [set(row.tolist()) for row in inputs["item"]]
        assert [set(row.tolist()) for row in features.item] == files, (
            "`item` must say of every item which file it belongs to, as the inputs' does"
        )
        assert t <= encoder.num_items, (
            f"a file gives {t} items, but num_items is {encoder.num_items}"
        )
        assert features.num_prefix_tokens == encoder.num_prefix_tokens
        assert encoder.grid is None or features.grid == encoder.grid, (
            f"the encoder says grid {encoder.grid}, its features {features.grid}"
        )
        if features.grid is not None:
            height, width = features.grid
            assert n == features.num_prefix_tokens + height * width, (
                f"{n} tokens are not {features.num_prefix_tokens} prefix tokens and a grid of "
                f"{height} x {width}; fusions pool by the grid"
            )

    def test_levels_come_in_the_order_asked_for(self) -> None:
        """Asked alone, together, twice or in another order, a level is the same."""
        encoder = self.built()
        inputs, levels = self.batch(encoder), self.wanted(encoder)
        order = [2, 0, 1, 0]
        together = encode(encoder, inputs, levels).levels
        mixed = encode(encoder, inputs, [levels[i] for i in order]).levels
        for place, i in enumerate(order):
            assert_like(mixed[place], together[i], self.tolerance, "levels in another order")
        for level, tensor in zip(levels, together, strict=True):
            [alone] = encode(encoder, inputs, [level]).levels
            assert_like(alone, tensor, self.tolerance, f"{level} asked for alone")
        if encoder.num_levels > 1:
            assert not torch.equal(together[1], together[2]), "the first block's level is the last"
        if self.has_norm:
            assert not torch.equal(together[0], together[2]), (
                "the final-normed level is the raw one; apply the model's final norm, or set "
                "`has_norm = False` in the test of a model without"
            )

    def test_media_matter(self) -> None:
        """Every sample's features are of its own media."""
        encoder = self.built()
        level = encode(encoder, self.batch(encoder), self.wanted(encoder)).levels[0]
        for row in range(1, len(level)):
            assert not torch.allclose(level[0], level[row], atol=1e-4), (
                "different media give equal features"
            )

    def test_a_row_is_its_sample_alone(self) -> None:
        """Neighbours in a batch change nothing."""
        encoder = self.built()
        levels, count = self.wanted(encoder), 3
        together = encode(encoder, self.batch(encoder, count), levels)
        for row in range(count):
            alone = encode(encoder, batch_of(encoder, [self.media(row)]), levels)
            self._same_tokens(alone, 0, together, row, "a sample in a batch and alone")

    def test_samples_without_media(self) -> None:
        """A sample without media is masked, and leaves the others as they are."""
        encoder = self.built()
        levels = self.wanted(encoder)
        mixed = encode(encoder, batch_of(encoder, [None, self.media(0)]), levels)
        alone = encode(encoder, batch_of(encoder, [self.media(0)]), levels)
        assert not bool(mixed.mask[0].any()), "tokens of a sample without media are not masked"
        assert all(bool(level.isfinite().all()) for level in mixed.levels), (
            "a sample without media gives values that are not finite; they poison gradients"
        )
        self._same_tokens(alone, 0, mixed, 1, "a sample beside one without media")
        nobody = batch_of(encoder, [self.media(0)])
        nobody["item"] = torch.full_like(nobody["item"], -1)
        assert not bool(encode(encoder, nobody, levels).mask.any())

    def test_padding_is_not_read(self) -> None:
        """Whatever stands where the loader filled up short or missing media is not seen."""
        encoder = self.built()
        levels, parts = self.wanted(encoder), [None, self.media(0), self.media(1)]
        inputs, padding = batch_of(encoder, parts), padding_of(encoder, parts)
        noisy: MediaInputs = {**inputs, "values": scrambled(inputs["values"], padding)}
        clean, found = (encode(encoder, each, levels) for each in (inputs, noisy))
        for row in (1, 2):
            self._same_tokens(found, row, clean, row, "noise in padding")

    def test_frozen(self) -> None:
        """In train mode: no gradient, no dropout, and no parameter or buffer changes."""
        encoder = self.built().train()
        inputs, levels = self.batch(encoder), self.wanted(encoder)
        before = copies(encoder)
        first, second = (encoder(inputs, levels).levels for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert not a.requires_grad, "features of a frozen encoder carry gradients"
            assert torch.equal(a, b), (
                "two forwards in train mode differ: some dropout is not a module's `p` nor an "
                "attribute called dropout, so that freezing cannot silence it"
            )
        changed = [k for k, v in encoder.state_dict().items() if not torch.equal(v, before[k])]
        assert not changed, f"a forward changed {changed}; a frozen encoder keeps its bits"

    def test_bfloat16(self) -> None:
        """Weights in half precision read what the processor gives, and stay close to float32."""
        encoder = self.built()
        inputs, levels = self.batch(encoder), self.wanted(encoder)
        full = encode(encoder, inputs, levels).levels
        half = encode(copied(encoder).to(torch.bfloat16), inputs, levels).levels
        for a, b in zip(half, full, strict=True):
            assert a.dtype == torch.bfloat16, f"an encoder in bfloat16 gives {a.dtype}"
            assert_like(a, b, self.half_tolerance, "bfloat16 and float32")

    def test_keep_blocks_changes_no_level_that_is_left(self) -> None:
        """Dropping the blocks that no fusion reads is invisible to those that it does."""
        encoder = self.built()
        inputs = self.batch(encoder)
        for count in range(1, encoder.num_levels + 1):
            shorter = copied(encoder)
            shorter.keep_blocks(count)
            levels = [LevelSpec(count - 1), LevelSpec(count - 1, normed=True)]
            full, kept = (encode(each, inputs, levels).levels for each in (encoder, shorter))
            for a, b in zip(kept, full, strict=True):
                assert_like(a, b, self.tolerance, f"level {count - 1} after keep_blocks({count})")

    def test_blocks_can_be_unfrozen(self) -> None:
        """`block(i)` is the module behind level i: what `train.unfreeze` trains."""
        encoder = self.built()
        try:
            blocks: list[nn.Module] = [encoder.block(i) for i in range(encoder.num_levels)]
        except TypeError:
            pytest.skip("this encoder does not expose its blocks, so train.unfreeze refuses it")
        assert len({id(block) for block in blocks}) == len(blocks), "two levels share one block"
        blocks[-1].requires_grad_(True)
        level = encoder(self.batch(encoder), [LevelSpec(encoder.num_levels - 1)]).levels[0]
        advice = "an unfrozen block gets no gradient; do not detach, nor run under no_grad yourself"
        assert level.requires_grad, advice
        level.float().pow(2).mean().backward()
        gradients = [cast(Any, p.grad) for p in blocks[-1].parameters()]
        assert any(g is not None and bool(g.any()) for g in gradients), advice

    def test_fingerprint(self) -> None:
        """What an adapter must fit is plain JSON, and equal for equal options."""
        first, second = (self.built().fingerprint_config() for _ in range(2))
        try:
            texts = [json.dumps(each, sort_keys=True) for each in (first, second)]
        except TypeError as error:
            pytest.fail(f"fingerprint_config is not JSON, which an adapter is saved as: {error}")
        assert texts[0] == texts[1], "two encoders of equal options have other fingerprints"

    def _same_tokens(self, found: Features, i: int, wanted: Features, j: int, what: str) -> None:
        """Row i of some features has the real tokens of row j of others."""
        assert _count(found, i) == _count(wanted, j), f"{what}: they have other tokens"
        for a, b in zip(found.levels, wanted.levels, strict=True):
            assert_like(a[i][found.mask[i]], b[j][wanted.mask[j]], self.tolerance, what)


def _count(features: Features, row: int) -> int:
    return int(features.mask[row].sum())
