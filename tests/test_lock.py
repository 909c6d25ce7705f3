"""The lock on an open file: one process holds it, for the file at its path."""

import errno
import os
import signal
import time
import warnings

import pytest

from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import RunLock
from seq2seq.system import lock

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX alone")


def opened(path, **rest):
    return lock.open_locked(path, shown=str(path), **rest)


def test_one_holds_it_until_it_is_closed(tmp_path):
    held = opened(tmp_path / "file")
    assert opened(tmp_path / "file") is None
    held.close()
    with opened(tmp_path / "file") as again:
        assert again.is_in_place()


def test_a_forked_child_does_not_keep_it(tmp_path):
    held = opened(tmp_path / "file")
    ready, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork; the child only sleeps
        child = os.fork()
    if child == 0:
        os.write(tell, b"%d" % held.closed)
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"1"
        assert opened(tmp_path / "file") is None, "the child has let go of its parent's lock"
        held.close()
        opened(tmp_path / "file").close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)


@pytest.mark.parametrize("moved", ["file", "folder"])
def test_a_file_moved_between_opening_and_locking_is_not_locked(tmp_path, monkeypatch, moved):
    path, calls = tmp_path / "run" / ".lock", []
    path.parent.mkdir()
    real = lock.try_lock

    def try_lock(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            (path if moved == "file" else path.parent).rename(tmp_path / "aside")
        return real(descriptor)

    monkeypatch.setattr(lock, "try_lock", try_lock)
    held = RunLock(path.parent)
    assert len(calls) == 2
    assert path.read_bytes().startswith(b'{"pid": ')
    held.release()


def test_a_file_that_is_always_replaced_counts_as_locked(tmp_path, monkeypatch):
    def try_lock(_):
        (tmp_path / "file").unlink()
        return True

    monkeypatch.setattr(lock, "try_lock", try_lock)
    assert opened(tmp_path / "file") is None


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def try_lock(_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "try_lock", try_lock)
    opened(tmp_path / "file", lock_required=False).close()
    with pytest.raises(OSError, match="No locks available"):
        opened(tmp_path / "file")
    with pytest.raises(UserError, match="No locks available") as caught:
        RunLock(tmp_path)
    assert caught.value.code == ExitCode.CANNOT_WRITE
