import time

import pytest
import torch

from mmadapt.bench.measure import generation, peak_bytes, seconds

CPU = torch.device("cpu")


def test_seconds():
    assert 0.02 < seconds(lambda: time.sleep(0.02), CPU) < 1


def test_peak_is_that_of_the_work_alone():
    small, large = (
        peak_bytes(lambda n=n: torch.ones(n, dtype=torch.uint8).max(), CPU) for n in (1, 2**28)
    )
    if small is None:
        pytest.skip("this platform tells no peak memory of a process (Linux: /proc/self/status)")
    assert 0.9 * 2**28 < large - small < 1.5 * 2**28
    again = peak_bytes(lambda: torch.ones(1), CPU)
    assert again < large - 2**27


def test_tokens_per_second_count_the_batch_after_the_first_token():
    def generate(stopping_criteria, max_new_tokens, **options):
        assert options == {"min_new_tokens": 5, "do_sample": False}
        for _ in range(max_new_tokens):
            time.sleep(0.02)
            stopping_criteria[0](torch.zeros(3, 1), None)

    first, rate = generation(generate, 5, 3, CPU)
    assert 0.02 < first < 0.2
    assert rate == pytest.approx(3 / 0.02, rel=0.5)
