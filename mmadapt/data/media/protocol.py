"""How a process and its media reader talk: a length-prefixed JSON header, then raw array bytes.

One message is `header length` (4 bytes), `payload length` (8 bytes), both big-endian, the header (a
JSON object) and the payload (the bytes of one C-contiguous array; its dtype and shape are in the
header). There is no pickle: nothing that a damaged decoder writes can run as code.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

Header = dict[str, Any]
Fill = Callable[[memoryview], None]
"""Fills the given bytes from the other side; raises EOFError where the other side has ended."""

_LENGTHS = struct.Struct(">IQ")


def send(fd: int, header: Header, array: np.ndarray | None = None) -> None:
    """Writes one message.

    Args:
        fd: An open, blocking file descriptor.
        header: Anything JSON can say; `dtype` and `shape` are added for an array.
        array: The payload, of any shape.

    Raises:
        BrokenPipeError: the other side has ended.
    """
    payload = memoryview(b"")
    if array is not None:
        array = np.ascontiguousarray(array)
        header = {**header, "dtype": array.dtype.str, "shape": array.shape}
        payload = array.reshape(-1).view(np.uint8).data
    text = json.dumps(header).encode()
    _write(fd, memoryview(_LENGTHS.pack(len(text), len(payload)) + text))
    _write(fd, payload)


def receive(fill: Fill) -> tuple[Header, np.ndarray | None]:
    """Reads one message; the payload is read straight into a new array.

    Args:
        fill: Where the bytes come from.

    Returns:
        The header, and the array if the message carries one.

    Raises:
        EOFError: the other side has ended.
    """
    lengths = bytearray(_LENGTHS.size)
    fill(memoryview(lengths))
    header_size, payload_size = _LENGTHS.unpack(lengths)
    text = bytearray(header_size)
    fill(memoryview(text))
    header = json.loads(text)
    if "dtype" not in header:
        return header, None
    array = np.empty(header["shape"], np.dtype(header["dtype"]))
    if array.nbytes != payload_size:
        raise EOFError(f"announced {array.nbytes} bytes, sent {payload_size}")
    fill(array.reshape(-1).view(np.uint8).data)
    return header, array


def _write(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
