"""Whatever fails in the middle of a change of an array."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import on_disk, opened, ran

import steadfast
from steadfast import _store


def broken(*given: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["_bytes_of", "_set_rows"])
def test_an_append_that_is_interrupted_leaves_the_array_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        a[:] = [1, 2]
        called = 0
        real = getattr(_store, name)

        def once(*given: Any) -> Any:
            nonlocal called
            called += 1
            if called == 1:
                raise KeyboardInterrupt
            return real(*given)

        monkeypatch.setattr(_store, name, once)
        with pytest.raises(KeyboardInterrupt):
            a.append([3, 4])
        assert a.tolist() == [1, 2] and len(a.map) == 4096 + 16
        a.commit()
        assert on_disk(path).tolist() == [1, 2]
        a.append([5])
        a.commit()
        assert on_disk(path).tolist() == [1, 2, 5]


@pytest.mark.parametrize("call", ["append", "cut"])
def test_what_could_not_be_put_right_at_once_is_put_right_before_anything_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        a[:] = [1, 2]
        with monkeypatch.context() as patched:
            patched.setattr(_store.Store, "restore", broken)
            patched.setattr(_store, "_set_rows", broken)
            with pytest.raises(KeyboardInterrupt):
                if call == "append":
                    a.append([3, 4])
                else:
                    a.resize_rows(1)
        a.commit()
        assert a.tolist() == [1, 2] and on_disk(path).tolist() == [1, 2]


def test_a_rollback_that_is_interrupted_is_finished_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        a.append([3, 4])
        with monkeypatch.context() as patched:
            patched.setattr(_store.Store, "adopt", broken)
            with pytest.raises(KeyboardInterrupt):
                a.rollback()
        a.append(7)
        a.commit()
        assert a.tolist() == [0, 0, 7] and on_disk(path).tolist() == [0, 0, 7]


def test_a_full_disk_takes_no_row_and_the_same_calls_succeed_later(tmp_path: Path) -> None:
    done = ran(
        """
        import resource, sys, numpy as np, steadfast
        path = sys.argv[1]
        a = steadfast.open_array(path, "u1", (1000,), allow_volatile=True)
        a[:] = 1
        a.commit()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        failed = None
        try:
            a.append(np.full(64 << 20, 2, "u1"))
        except steadfast.Error as error:
            failed = "append"
            assert a.shape == (1000,), a.shape
            assert a.commit() >= 0
        else:
            try:
                a.commit()
            except steadfast.Error as error:
                failed = "commit"
                assert isinstance(error, (steadfast.NotCommitted, steadfast.NoSpace)), repr(error)
            assert a.shape == (1000 + (64 << 20),) and a[-1] == 2, "memory is as it was"
        assert failed, "the limit limits nothing"
        reader = steadfast.open_array(path, mode="r", allow_volatile=True)
        assert reader.shape == (1000,) and reader.sum() == 1000
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if failed == "append":
            a.append(np.full(64 << 20, 2, "u1"))
        a.commit()
        a.close()
        b = np.load(path)
        assert b.shape == (1000 + (64 << 20),) and b[999] == 1 and (b[1000:] == 2).all()
        print("fine", failed)
        """,
        tmp_path / "a.npy",
    )
    assert done.returncode == 0 and done.stdout.startswith("fine"), done.stdout + done.stderr


def test_killed_anywhere_the_file_holds_whole_commits(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    program = """
        import sys, numpy as np, steadfast
        a = steadfast.open_array(sys.argv[1], "i8", (-1, 100), allow_volatile=True)
        n = a.shape[0]
        print("open", flush=True)
        while True:
            a.append(np.full((n % 7 + 1, 100), n))
            a[0] = a.shape[0]
            a.commit()
            n = a.shape[0]
            print(n, flush=True)
            if n > 1500:
                a.resize_rows(3)
                a[0] = 3
                a.commit()
                n = 3
                print(n, flush=True)
    """
    for round in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "open\n"
        told = 0
        for _ in range(5 + 13 * round):
            told = int(child.stdout.readline())
        child.kill()
        told = int(([told, *child.stdout.read().split()])[-1])
        child.wait()
        with opened(path) as a:
            # The last that was told, or the one in flight.
            assert a.shape[0] in range(told, told + 8) or a.shape[0] == 3
            assert (a[0] == a.shape[0]).all(), "the header and the data are of one commit"
        assert np.load(path).shape[1] == 100


def test_a_growth_whose_bytes_do_not_fit_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (2,)) as a:
        a[:] = [1, 2]
        length, before = len(a.map), a.map[:]
        for header, start, rows in ((b"x" * (length + 100), length, b""), (b"", length, b"x" * 100)):
            with pytest.raises(steadfast.OutOfRange):
                a.map._grow(length + 50, header, start, rows)
            assert len(a.map) == length and a.map[:] == before
