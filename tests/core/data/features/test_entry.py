import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mmadapt.data.features.entry import DamagedEntry, entry_bytes, read_entry, rounded
from mmadapt.types import Features


def features(dtype=torch.float32, grid=None):
    generator = torch.Generator().manual_seed(0)
    levels = tuple(torch.randn(1, 2, 3, 4, generator=generator).to(dtype) for _ in range(2))
    mask = torch.tensor([[[True, True, False], [True, False, False]]])
    return Features(levels, mask, torch.tensor([[0, 2]]), 1, grid)


def written(path, *args):
    path.write_bytes(entry_bytes(*args))
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_bit_comes_back(tmp_path, dtype):
    given = features(dtype, (1, 2))
    entry = read_entry(written(tmp_path / "e", given, (2, 1), None), check=True)
    for level, its in zip(given.levels, entry.features.levels, strict=True):
        assert its.dtype == dtype and torch.equal(level, its)
    assert torch.equal(entry.features.mask, given.mask)
    assert torch.equal(entry.features.item, given.item)
    assert (entry.features.num_prefix_tokens, entry.features.grid) == (1, (1, 2))
    assert entry.counts == (2, 1)


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16])
def test_a_smaller_type_rounds_once_and_comes_back_in_the_old_type(tmp_path, kept):
    given = features()
    path = written(tmp_path / "e", given, (2,), kept)
    entry = read_entry(path, check=True)
    assert path.stat().st_size < len(entry_bytes(given, (2,), None))
    again = rounded(given, kept)
    for level, its, own in zip(entry.features.levels, again.levels, given.levels, strict=True):
        assert level.dtype == torch.float32 and torch.equal(level, its)
        assert not torch.equal(level, own) and torch.allclose(level, own, rtol=1e-2)


@pytest.mark.parametrize("where", [3, 40, -2])
def test_a_changed_byte_is_noticed(tmp_path, where):
    path = written(tmp_path / "e", features(), (2,), None)
    content = bytearray(path.read_bytes())
    content[where] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(DamagedEntry):
        read_entry(path, check=True)


def test_no_bit_of_the_header_changes_unnoticed(tmp_path):
    given = features(grid=(1, 2))
    path = written(tmp_path / "e", given, (2, 1), None)
    content = path.read_bytes()
    for place in range(8 + int.from_bytes(content[:8], "little")):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 7
        path.write_bytes(changed)
        for check in (True, False):  # unchecked, whatever it says, it ends in no other error
            try:
                entry = read_entry(path, check=check)
            except DamagedEntry:
                continue
            if check:
                assert entry.counts == (2, 1) and entry.features.grid == (1, 2)
                assert entry.features.num_prefix_tokens == 1
                assert torch.equal(entry.features.levels[1], given.levels[1])


def test_an_entry_whose_header_has_no_checksum_is_damaged(tmp_path):
    path = tmp_path / "e"
    save_file({"mask": np.ones(1, bool)}, path, {"about": "{}", "crc32": "0"})
    with pytest.raises(DamagedEntry, match="checksum"):
        read_entry(path, check=True)


@pytest.mark.parametrize("content", [b"", b"no entry at all", None])
def test_half_a_file_is_damaged(tmp_path, content):
    path = written(tmp_path / "e", features(), (2,), None)
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    with pytest.raises(DamagedEntry):
        read_entry(path, check=False)


def test_no_file_is_another_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_entry(tmp_path / "none", check=True)
