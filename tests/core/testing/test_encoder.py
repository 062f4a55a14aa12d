"""The contract of encoders: a sound one passes, and the right test tells every flaw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmadapt.contracts import Processor
from mmadapt.data.media import as_image, read_image
from mmadapt.testing import EncoderContract
from mmadapt.testing.tiny import TinyEncoder, TinyEncoderConfig
from tests.core.testing.flaws import names_of, verdict


class Patches(Processor):
    """A CLS and 2 x 2 patches of a picture, two values each."""

    def __call__(self, media, rng=None):
        picture = as_image(media["value"]) if "value" in media else read_image(media["path"])
        pixels = torch.from_numpy(np.asarray(picture.resize((4, 4)), dtype=np.float32) / 255)
        if rng is not None:
            pixels = pixels + 0.1 * float(rng.random())
        patches = pixels.mean(2).reshape(2, 2, 2, 2).permute(0, 2, 1, 3).reshape(4, 4)
        return torch.cat([patches.mean(0, keepdim=True), patches])[None]


class Sound(TinyEncoder):
    """A sound encoder of pictures."""

    def __init__(self, config):
        super().__init__(config)
        self.processor = Patches()

    def forward(self, inputs, levels):
        values = inputs["values"].to(self.norm.weight.dtype)
        return super().forward({**inputs, "values": values}, levels)


class TestSound(EncoderContract):
    encoder = Sound

    def config(self):
        return TinyEncoderConfig(width=4, depth=3, side=2)


class Restless(Patches):
    def __call__(self, media, rng=None):
        return super().__call__(media) + torch.rand(())


class Forgetful(Patches):
    def __call__(self, media, rng=None):
        return super().__call__(media) + (0 if rng is None else np.random.random())


class Blind(Patches):
    def __call__(self, media, rng=None):
        return 0 * super().__call__(media)


class Trusting(Patches):
    def __call__(self, media, rng=None):
        try:
            return super().__call__(media)
        except Exception:
            return torch.zeros(1, 5, 4)


class Local(Patches):
    def __call__(self, media, rng=None):
        try:
            return super().__call__(media)
        except Exception as error:
            raise ValueError("cannot identify image file") from error


class Heavy(Patches):
    def __init__(self):
        self.weights = torch.zeros(600, 600)


class Flat(Patches):
    def __call__(self, media, rng=None):
        return super().__call__(media).flatten()


class Masked(Patches):
    def __call__(self, media, rng=None):
        return super().__call__(media), torch.ones(1, 3, dtype=torch.bool)


def with_processor(processor):
    class Changed(Sound):
        def __init__(self, config):
            super().__init__(config)
            self.processor = processor()

    return Changed


class Drops(Sound):
    def __init__(self, config):
        super().__init__(config)
        self.share = 0.5

    def forward(self, inputs, levels):
        features = super().forward(inputs, levels)
        if self.training:
            [nn.functional.dropout(x, self.share, inplace=True) for x in features.levels]
        return features


class Counts(Sound):
    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs, levels):
        self.seen += 1
        return super().forward(inputs, levels)


class Averages(Sound):
    """Mixes the samples of a batch, as a batch norm does, padding included."""

    def forward(self, inputs, levels):
        values = inputs["values"] - inputs["values"].mean(dim=0)
        return super().forward({**inputs, "values": values}, levels)


class Sorted(Sound):
    def forward(self, inputs, levels):
        return super().forward(inputs, sorted(levels, key=lambda level: level.block))


class Boasts(Sound):
    @classmethod
    def info(cls, config):
        from dataclasses import replace

        return replace(super().info(config), num_levels=12)


class Gridless(Sound):
    def forward(self, inputs, levels):
        features = super().forward(inputs, levels)
        features.__dict__["levels"] = tuple(x[:, :, 1:] for x in features.levels)
        features.__dict__["mask"] = features.mask[:, :, 1:]
        return features


class Unmasked(Sound):
    def forward(self, inputs, levels):
        features = super().forward(inputs, levels)
        features.__dict__["mask"] = torch.ones_like(features.mask)
        return features


class Full(Sound):
    def forward(self, inputs, levels):
        features = super().forward(inputs, levels)
        features.__dict__["levels"] = tuple(x.float() for x in features.levels)
        return features


class Cuts(Sound):
    def keep_blocks(self, count):
        del self.blocks[count - 1 : -1]


class Typed(Sound):
    def fingerprint_config(self):
        return {"dtype": torch.float32}


class Detached(Sound):
    def forward(self, inputs, levels):
        with torch.no_grad():
            return super().forward(inputs, levels)


FLAWS = [
    (with_processor(Restless), "without_a_generator_it_is_deterministic", "rng is None"),
    (with_processor(Forgetful), "chance_comes_from_the_generator_alone", "global generator"),
    (with_processor(Blind), "without_a_generator_it_is_deterministic", "different media"),
    (with_processor(Trusting), "bad_files_name_themselves", "read without any error"),
    (with_processor(Local), "bad_files_name_themselves", "raise a MediaError with its path"),
    (with_processor(Heavy), "it_travels_to_loader_workers", "must hold no weights"),
    (Boasts, "info_is_the_loaded_encoder", "num_levels=12"),
    (Gridless, "shapes", "4 tokens are not 1 prefix tokens and a grid of 2 x 2"),
    (Sorted, "levels_come_in_the_order_asked_for", "levels in another order"),
    (with_processor(Blind), "media_matter", "equal features"),
    (Averages, "a_row_is_its_sample_alone", "a sample in a batch and alone"),
    (Averages, "padding_is_not_read", "noise in padding"),
    (Averages, "samples_without_media", "a sample beside one without media"),
    (Unmasked, "samples_without_media", "not masked"),
    (Drops, "frozen", "two forwards in train mode differ"),
    (Counts, "frozen", "'seen'"),
    (Full, "bfloat16", "in bfloat16 gives torch.float32"),
    (Cuts, "keep_blocks_changes_no_level_that_is_left", "after keep_blocks("),
    (with_processor(Flat), "values_are_items", "must return a tensor (t, …)"),
    (with_processor(Masked), "values_are_items", "the processor's mask is (1, 3)"),
    (Typed, "fingerprint", "not JSON"),
    (Detached, "blocks_can_be_unfrozen", "do not detach"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("encoder", "test", "message"), FLAWS)
def test_a_flaw_is_told(encoder, test, message, tmp_path):
    found = verdict(TestSound, f"test_{test}", tmp_path, encoder=encoder)
    assert found is not None, "the flaw passes"
    assert message in found


def test_every_test_of_the_contract_has_its_flaw():
    told = {f"test_{test}" for _, test, _ in FLAWS}
    assert told == set(names_of(EncoderContract))
