"""One run in one folder; a dead one's lock keeps nobody out."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mmadapt.errors import MMAdaptError
from mmadapt.lock import FILE, locked

HOLDER = """
import sys, time
from pathlib import Path
from mmadapt.lock import locked
import os
with locked(Path(sys.argv[1])):
    if os.fork() == 0:  # as a loader worker does, which outlives a killed run
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock, and a child of its own."""
    line = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_second_run_is_told_who_holds_the_folder(holder, tmp_path):
    who = rf"run: .* there by process {holder.pid} on .* choose another --output-dir"
    with pytest.raises(MMAdaptError, match=who), locked(tmp_path / "run"):
        pass


def test_a_killed_run_leaves_no_lock_though_its_worker_lives(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    time.sleep(0.1)
    assert (tmp_path / "run" / FILE).exists()
    with locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / FILE).exists()


def test_one_process_holds_a_folder_once(tmp_path):
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        with pytest.raises(MMAdaptError, match="this one"), locked(tmp_path / "a"):
            pass
        assert (tmp_path / "a" / FILE).exists()  # still held
    with locked(tmp_path / "a"):
        pass


def test_what_is_done_in_a_folder_is_told_to_another_process(tmp_path):
    with locked(tmp_path, "an evaluation is going on"):
        line = [sys.executable, "-c", HOLDER, str(tmp_path)]
        told = subprocess.run(line, capture_output=True, text=True, timeout=60).stderr
    who = f"an evaluation is going on there by process {os.getpid()} on "
    assert who in told and "wait for it" in told


def test_an_empty_folder_is_removed_again_and_a_used_one_stays(tmp_path):
    with locked(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    with locked(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
