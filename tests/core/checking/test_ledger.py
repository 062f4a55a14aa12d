"""Bytes of live tensors, by whom they were made."""

import torch

from mmadapt.checking.ledger import OTHER, Ledger, imagined


def test_bytes_are_counted_while_they_live():
    with Ledger() as ledger:
        with ledger.owned_by("mine"):
            x = torch.ones(100)
        y = x.view(10, 10)  # the same storage
        z = y + 1
        assert (ledger.live["mine"], ledger.live[OTHER]) == (400, 400)
        del x, z
        assert (ledger.live["mine"], ledger.live[OTHER]) == (400, 0)
        del y
        assert ledger.total(ledger.live) == 0
    assert ledger.total(ledger.peak) == 800


def test_what_backward_needs_stays():
    weight = torch.ones(10, 10, requires_grad=True)
    with Ledger() as ledger:
        ledger.enter(weight, "weights")
        hidden = torch.ones(500, 10) @ weight
        loss = (hidden.tanh() ** 2).sum()
        del hidden
        kept = ledger.live[OTHER]
        loss.backward()
        assert ledger.live["weights"] == 400
        assert ledger.live[OTHER] < kept


def test_imagined_floats_take_no_memory_and_ids_are_real():
    with imagined(), Ledger() as ledger:
        table = torch.zeros(10**6, 10**5)
        ids = torch.arange(3)
        assert ids.tolist() == [0, 1, 2]
        rows = table[ids]
        assert ledger.total(ledger.live) == 4 * 10**11 + 24 + 4 * 3 * 10**5
        chosen = rows.argmax(dim=1)
        assert chosen.bincount(minlength=2).tolist() == [2, 1]
        assert rows[ids > 0].shape == (2, 10**5)
