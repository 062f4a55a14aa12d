"""Caches of transformers: the static one gives the same tokens, others are refused in a line."""

from __future__ import annotations

import pytest
import torch

from mmadapt.errors import DataError, MissingDependency
from mmadapt.generation.lm_cache import _is_installed, check_lm_cache
from tests.core.generation.test_streaming import batch_of, model  # noqa: F401  of every fusion


@pytest.mark.parametrize("beams", [1, 3])
def test_a_static_cache_gives_the_tokens_of_a_growing_one(model, beams):  # noqa: F811
    batch = batch_of(model, 4)
    assert not batch["attention_mask"].all()
    options = {"max_new_tokens": 6, "eos_token_id": None, "num_beams": beams}
    growing = model.generate_batch(**batch, **options)
    caches = []
    handle = model.lm.register_forward_hook(
        lambda _, args, output: caches.append(output.past_key_values)
    )
    fixed = model.generate_batch(**batch, **options, cache_implementation="static")
    handle.remove()
    assert torch.equal(growing, fixed)
    assert {type(cache).__name__ for cache in caches} == {"StaticCache"}


def test_what_is_refused_is_refused_before_anything_is_generated(model):  # noqa: F811
    options = {"max_new_tokens": 2, "cache_implementation": "paged"}
    with pytest.raises(DataError, match="cache_implementation 'paged' cannot be used"):
        model.generate_batch(**batch_of(model, 1), **options)


@pytest.mark.parametrize(
    ("kind", "causal", "part"),
    [
        ("static", False, r"mode: published\), or leave it out"),
        ("offloaded", True, "in main memory already; 'static' is the one of fixed size"),
        ("offloaded_static", True, "in main memory already"),
        ("paged", True, "use 'static'"),
    ],
)
def test_caches_that_cannot_work_are_refused(kind, causal, part):
    with pytest.raises(DataError, match=f"cache_implementation '{kind}' cannot be used: .*{part}"):
        check_lm_cache({"cache_implementation": kind}, causal, torch.device("cpu"))


def test_caches_that_work_are_not():
    cuda = torch.device("cuda")
    for kind, device in (("static", cuda), ("dynamic", cuda), ("offloaded", cuda), (None, cuda)):
        check_lm_cache({"cache_implementation": kind}, True, device)
    check_lm_cache({}, False, torch.device("cpu"))


def test_a_quantised_cache_names_its_package(monkeypatch):
    monkeypatch.setattr("mmadapt.generation.lm_cache._is_installed", lambda package: False)
    for config, package in ((None, "optimum-quanto"), ({"backend": "HQQ"}, "hqq")):
        options = {"cache_implementation": "quantized", "cache_config": config}
        with pytest.raises(MissingDependency, match=f"pip install '{package}'"):
            check_lm_cache(options, True, torch.device("cpu"))
    check_lm_cache({"cache_implementation": "static"}, True, torch.device("cpu"))


def test_a_package_is_installed_or_not():
    assert [_is_installed(name) for name in ("torch", "no_such_package", "no_such.part")] == [
        True,
        False,
        False,
    ]
