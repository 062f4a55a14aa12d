import contextlib
import os
import threading

import numpy as np
import pytest

from mmadapt.data.media import protocol


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def filler(fd):
    def fill(view):
        while view:
            count = os.readv(fd, [view[:7]])  # pipes deliver in pieces
            if not count:
                raise EOFError
            view = view[count:]

    return fill


@pytest.mark.parametrize(
    "array",
    [
        None,
        np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        np.zeros((0, 4), np.uint8),
        np.arange(12).reshape(3, 4)[:, ::2],  # not contiguous
        np.random.default_rng(0).integers(0, 255, (40, 5000), np.uint8),  # more than a pipe holds
    ],
)
def test_messages_arrive_as_they_were_sent(pipe, array):
    header = {"path": "/tmp/\udcff ü.mp4", "start": 0.1}  # any file name
    sender = threading.Thread(target=protocol.send, args=(pipe[1], header, array))
    sender.start()
    got, received = protocol.receive(filler(pipe[0]))
    sender.join()
    assert got["path"] == header["path"] and got["start"] == header["start"]
    if array is None:
        assert received is None
    else:
        assert received.dtype == array.dtype
        np.testing.assert_array_equal(received, array)


def test_messages_follow_one_another(pipe):
    for i in range(3):
        protocol.send(pipe[1], {"i": i}, np.full(i, i))
    for i in range(3):
        header, array = protocol.receive(filler(pipe[0]))
        assert header["i"] == i and array.tolist() == [i] * i


def test_an_end_in_the_middle_is_an_error(pipe):
    protocol.send(pipe[1], {}, np.arange(4))
    whole = os.read(pipe[0], 10_000)
    os.write(pipe[1], whole[:-1])
    os.close(pipe[1])
    with pytest.raises(EOFError):
        protocol.receive(filler(pipe[0]))


def test_lengths_that_disagree_are_an_error(pipe):
    text = b'{"dtype": "<i8", "shape": [4]}'
    os.write(pipe[1], len(text).to_bytes(4, "big") + (31).to_bytes(8, "big") + text + bytes(32))
    with pytest.raises(EOFError, match="announced 32 bytes, sent 31"):
        protocol.receive(filler(pipe[0]))
