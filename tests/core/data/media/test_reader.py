import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mmadapt.data.media import files, read_image, read_video, reader
from mmadapt.data.media.reader import Reader, ReaderError, shared_reader
from mmadapt.errors import MediaError
from tests.core.data.media.makers import indices_of, paint, write_video

OPERATIONS = """
import ctypes, os, time
import numpy as np
from mmadapt.data.media.decode import video as real

def echo(request):
    return {"said": request["say"]}, np.arange(request["count"], dtype=np.int16).reshape(-1, 2)

def noisy(request):
    os.write(1, b"a C library prints on what was standard output" * 1000)
    return echo(request)

def sleep(request):
    time.sleep(60)

def stuck(request):  # holds the interpreter lock, as a decoder that hangs in C may
    ctypes.PyDLL(None).sleep(60)

def crash(request):
    ctypes.string_at(0)

def leave(request):
    os._exit(3)

def modules(request):
    import sys
    return {"torch": "torch" in sys.modules, "decord": "decord" in sys.modules}, np.zeros(1)

def video(request):  # the first decoder is as the file's name says, the others are real
    if request["backends"][0] == "decord":
        globals()[request["path"].rsplit(".", 1)[1]](request)
    return real.read(request)
"""
SERVE = """
from mmadapt.data.media import worker
names = "echo noisy sleep stuck crash leave modules video"
worker.ALARM_SLACK = 0.2
worker.serve({**worker.OPERATIONS, **{n: f"operations:{n}" for n in names.split()}})
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker")
    (folder / "operations.py").write_text(OPERATIONS)
    (folder / "serve.py").write_text(SERVE)
    return [sys.executable, str(folder / "serve.py")]


@pytest.fixture
def bad(command):
    """A reader whose process also knows operations that hang and crash."""
    one = Reader(command)
    yield one
    one.close()


def echo(one, count=6):
    header, array = one.read("echo", "/x", timeout=30, say="ü", count=count)
    return header["said"] == "ü" and array.ravel().tolist() == list(range(count))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_process_starts_at_the_first_read_and_stays(bad):
    assert bad.pid is None
    assert echo(bad)
    pid = bad.pid
    assert echo(bad) and bad.pid == pid


def test_large_and_empty_arrays_pass(bad):
    assert echo(bad, 30_000) and echo(bad, 0)


def test_print_of_a_library_does_not_mix_with_answers(bad):
    header, array = bad.read("noisy", "/x", timeout=30, say="a", count=4)
    assert header["said"] == "a" and array.shape == (2, 2)


@pytest.mark.parametrize("op", ["sleep", "stuck"])
def test_a_hang_ends_at_its_limit_and_the_next_read_works(bad, op):
    echo(bad)
    pid, begin = bad.pid, time.monotonic()
    with pytest.raises(ReaderError, match=r"no end after 0\.5 s") as caught:
        bad.read(op, "/x", timeout=0.5)
    assert caught.value.lost
    assert 0.4 < time.monotonic() - begin < 5.0
    assert not is_running(pid)
    assert echo(bad) and bad.pid != pid


def test_a_crash_is_told_and_the_next_read_works(bad):
    with pytest.raises(ReaderError, match="Segmentation fault") as caught:
        bad.read("crash", "/x", timeout=30)
    assert caught.value.lost
    assert echo(bad)


def test_an_exit_is_told(bad):
    with pytest.raises(ReaderError, match="exit code 3"):
        bad.read("leave", "/x", timeout=30)
    assert echo(bad)


def test_killed_in_the_middle_of_a_read(bad):
    echo(bad)
    timer = threading.Timer(0.3, os.kill, (bad.pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(ReaderError, match="Killed"):
        bad.read("sleep", "/x", timeout=30)
    assert echo(bad)


def test_killed_between_reads_goes_unnoticed(bad):
    echo(bad)
    pid = bad.pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: bad._process.poll() is not None)  # its last thread, too
    assert echo(bad) and bad.pid != pid


def test_a_process_that_cannot_start_says_why():
    with pytest.raises(ReaderError, match=r"did not start.*ModuleNotFoundError.*no_such_module"):
        Reader([sys.executable, "-c", "import no_such_module"]).read("image", "/x", timeout=1)


def test_an_interrupted_read_leaves_no_answer_behind(bad):
    echo(bad)

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            bad.read("sleep", "/x", timeout=30)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert echo(bad)


def test_threads_share_a_reader(bad):
    results = []

    def work(count):
        results.extend(echo(bad, 2 * count) for _ in range(20))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 120


def test_the_process_imports_no_torch_and_decoders_only_when_needed(bad):
    header, _ = bad.read("modules", "/x", timeout=30)
    assert header == {**header, "torch": False, "decord": False}


@pytest.mark.parametrize("how", ["sleep", "crash", "leave"])
def test_the_second_decoder_reads_what_the_first_hangs_or_dies_on(bad, how, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "shared_reader", lambda: bad)
    monkeypatch.setattr("mmadapt.data.media.video._backends", lambda: ("decord", "pyav"))
    path = write_video(tmp_path / "a.mp4").rename(tmp_path / f"a.{how}")
    clip = read_video(path, num_frames=4, timeout=2.0)
    assert clip.backend == "pyav" and indices_of(clip) == [2, 7, 12, 17]


def test_an_error_tells_what_every_decoder_did(bad, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "shared_reader", lambda: bad)
    monkeypatch.setattr("mmadapt.data.media.video._backends", lambda: ("decord", "pyav"))
    path = tmp_path / "a.crash"
    path.write_bytes(b"no video")
    with pytest.raises(MediaError) as caught:
        read_video(path, num_frames=4)
    assert "decord: the decoder crashed (Segmentation fault); it is not a video" in str(
        caught.value
    )


PARENT = """
import sys, threading, time
from mmadapt.data.media.reader import Reader
one = Reader(sys.argv[2:])
one.read("echo", "/x", timeout=30, say="a", count=2)
print(one.pid, flush=True)
if sys.argv[1] != "idle":
    one.read(sys.argv[1], "/x", timeout=1.0 if sys.argv[1] == "stuck" else 60.0)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "sleep", "stuck"])
def test_the_process_ends_with_its_parent(command, state):
    arguments = [sys.executable, "-c", PARENT, state, *command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)  # now it waits, sleeps, or is stuck in C
        assert is_running(pid)
        parent.kill()
    assert wait_until(lambda: not is_running(pid))


def test_closing_ends_the_process(bad):
    echo(bad)
    pid = bad.pid
    bad.close()
    assert bad.pid is None and not is_running(pid)


def test_a_forked_child_has_a_reader_of_its_own(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    read_video(path, num_frames=2)
    mine = shared_reader()
    received, sent = os.pipe()
    child = os.fork()
    if not child:  # what a loader worker is
        try:
            clip = read_video(path, num_frames=4)
            ok = indices_of(clip) == [2, 7, 12, 17] and shared_reader() is not mine
            os.write(sent, f"{int(ok)} {shared_reader().pid}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    ok, pid = os.read(received, 100).split()
    assert ok == b"1" and int(pid) != mine.pid
    assert wait_until(lambda: not is_running(int(pid)))
    assert is_running(mine.pid)
    assert indices_of(read_video(path, num_frames=4)) == [2, 7, 12, 17]


def test_a_forked_child_does_not_keep_its_parents_reader_alive(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    script = (
        "import os, sys, time\n"
        "from mmadapt.data.media import read_video\n"
        "from mmadapt.data.media.reader import shared_reader\n"
        f"read_video({str(path)!r}, num_frames=2)\n"
        "child = os.fork()\n"
        "if not child: time.sleep(60); os._exit(0)\n"
        "print(shared_reader().pid, child, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=-1, text=True) as parent:
        pid, child = map(int, parent.stdout.readline().split())
        parent.kill()
    try:
        assert wait_until(lambda: not is_running(pid))
        assert is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_script_that_reads_ends_quietly(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    script = (
        "from mmadapt.data.media import read_image\n"
        "from mmadapt.data.media.reader import shared_reader\n"
        f"print(read_image({str(tmp_path / 'a.png')!r}).size, shared_reader().pid)\n"
        "import sys; assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.returncode) == ("", 0)
    size, pid = done.stdout.rsplit(" ", 1)
    assert size == "(4, 4)" and not is_running(int(pid))


def test_frames_are_the_callers_own(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=[paint(i) for i in range(4)])
    frames = read_video(path, num_frames=4).frames
    assert frames.flags.c_contiguous and frames.flags.writeable and frames.flags.owndata


def test_all_reads_share_one_process(tmp_path):
    from PIL import Image

    write_video(tmp_path / "a.mp4")
    Image.fromarray(paint(3)).save(tmp_path / "a.png")
    read_video(tmp_path / "a.mp4", num_frames=1)
    pid = shared_reader().pid
    assert np.asarray(read_image(tmp_path / "a.png")).tolist() == paint(3).tolist()
    assert shared_reader().pid == pid and reader.shared_reader() is shared_reader()
