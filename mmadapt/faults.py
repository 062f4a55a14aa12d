"""What a machine does to a run, each said in one line: memory, disk, killed processes."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from mmadapt.errors import MMAdaptError, TrainingError
from mmadapt.memory import is_out_of_memory

LESS_MEMORY = (
    "lower train.per_device_train_batch_size (and raise train.gradient_accumulation_steps as "
    "much; train.auto_find_batch_size: true halves it until it fits), set "
    "train.gradient_checkpointing: true or lm.dtype: bfloat16, or lower evaluate.batch_size"
)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}
_TORCH_WRITE = re.compile(r"PytorchStreamWriter|unexpected pos|file write failed|iostream error")
_SAFETENSORS_WRITE = re.compile(r"I/?O ?[Ee]rror.*|No space left.*|File too large.*", re.DOTALL)
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (.*)", re.DOTALL)
_PEER = re.compile(
    r"[Cc]onnection (was )?(closed|reset|refused)|[Ss]ocket (closed|Timeout)|Broken pipe"
    r"|[Tt]imed out waiting|[Tt]imeout.*collective|collective.*[Tt]imeout|NCCL.*remote process"
)


@contextmanager
def explain_faults(advice: str = "", resume: str = "") -> Iterator[None]:
    """Turns the errors of torch, Python and the system that a machine causes into one line.

    Args:
        advice: what to lower where memory does not suffice.
        resume: how to go on once the cause is mended, one clause; may be empty.

    Raises:
        TrainingError: in place of such an error; all others pass.
    """
    try:
        yield
    except MMAdaptError:
        raise
    except Exception as error:
        text = explanation(error, advice)
        if text is None:
            raise
        raise TrainingError(f"{text}; {resume}" if resume else text) from error


def explanation(error: Exception, advice: str = "") -> str | None:
    """What one of the machine's faults means, or None for any other error."""
    text = str(error)
    if is_out_of_memory(error):
        place = "the GPU" if type(error).__name__ == "OutOfMemoryError" else "this machine"
        return f"the memory of {place} does not suffice: {advice}".removesuffix(": ")
    if isinstance(error, OSError) and error.errno in _DISK:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}cannot be written: {error.strerror}: free or mount what it needs"
    if type(error).__name__ == "SafetensorError" and (match := _SAFETENSORS_WRITE.search(text)):
        return f"weights cannot be written: {_first_line(match[0])}: free what they need"
    if isinstance(error, RuntimeError) and _TORCH_WRITE.search(text):
        return "a checkpoint cannot be written: the disk is full, or a quota or limit is reached"
    if isinstance(error, RuntimeError) and (match := _WORKER.search(text)):
        reason = _first_line(match[1]).rstrip(". ")
        return (
            f"a loader worker {reason}; if the system ended it for want of memory, lower "
            "train.dataloader_num_workers"
        )
    if isinstance(error, RuntimeError) and _PEER.search(text):
        return "another process of this launch ended or does not answer; its own error says why"
    return None


def reason_of(error: BaseException) -> str:
    """The first line of what an error says; its kind where it says nothing.

    Example:
        >>> reason_of(ValueError("no such file\\nin this folder")), reason_of(MemoryError())
        ('no such file', 'MemoryError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else text
