"""Views, results, copies and the end of arrays, and what the module shows."""

from __future__ import annotations

import copy
import doctest
import gc
import io
import os
import pickle
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from arrays import on_disk, opened, ran

import steadfast


# ---- views, results and copies ----


def test_views_know_the_file_and_results_do_not(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "f8", (4, 3)) as a:
        for view in (
            a[1:],
            a[::2],
            a.T,
            a.reshape(3, 4),
            a.view("i8"),
            a[1:][1:].T,
            a[..., np.newaxis],
            a.ravel(),
            a.real,
        ):
            assert type(view) is steadfast.array and view.map is a.map
        for plain in (
            a + 1,
            -a,
            a @ a.T,
            np.sqrt(a),
            a.sum(axis=0),
            a == 1,
            np.asarray(a),
            a.copy(),
            copy.copy(a),
            copy.deepcopy(a),
        ):
            assert type(plain) is np.ndarray
        for scalar in (a.sum(), np.sum(a), a.mean(), a[0, 0], a.max()):
            assert isinstance(scalar, np.float64)
        for apart in (a[[0, 1]], a[a > 0], a.astype("f4"), a.flatten(), a.take([0])):
            assert not np.may_share_memory(a, apart)
            if isinstance(apart, steadfast.array):
                with pytest.raises(ValueError, match="no file is behind"):
                    apart.commit()


def test_a_commit_of_a_view_commits_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (4,)) as a:
        view = a[2:]
        a[0] = 5
        view[0] = 6
        view.commit()
        assert on_disk(path).tolist() == [5, 0, 6, 0]
        a[1] = 4
        view.rollback()
        assert a[1] == 0
        view.append(9)
        assert a.tolist() == [5, 0, 6, 0, 9] and view.shape == (2,)
        del view


def test_in_place_operations_are_committed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "f8", (2, 2)) as a:
        same = a
        a += 1
        a *= 3
        np.add(a, 1, out=a)
        np.subtract(a[0], 1, out=a[0])
        a.T[0, 1] = 8
        a.sort(axis=1)
        assert a is same and type(a) is steadfast.array
        a.commit()
        assert on_disk(path).tolist() == a.tolist() == [[3, 3], [4, 8]]


def test_copies_and_pickles_are_plain_and_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (3,)) as a:
        a[:] = [1, 2, 3]
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for array in (a, a[1:]):
                again = pickle.loads(pickle.dumps(array, protocol))
                assert type(again) is np.ndarray and again.tolist() == array.tolist()
        del array
        again = copy.deepcopy({"a": a})["a"]
        again[:] = 0
        assert a.tolist() == [1, 2, 3] and a.map.exports == 1
        buffers: list[pickle.PickleBuffer] = []
        kept = pickle.loads(pickle.dumps(a, 5, buffer_callback=buffers.append), buffers=buffers)
        assert kept.tolist() == [1, 2, 3]
        np.save(tmp_path / "other.npy", a)
        assert np.load(tmp_path / "other.npy").tolist() == [1, 2, 3]
        file = io.BytesIO()
        np.savez(file, a=a)
        file.seek(0)
        assert np.load(file)["a"].tolist() == [1, 2, 3]


def test_an_array_is_only_made_by_opening_a_file() -> None:
    with pytest.raises(TypeError, match="open_array"):
        steadfast.array([1, 2])
    view = np.arange(3).view(steadfast.array)
    with pytest.raises(ValueError, match="no file is behind"):
        view.commit()


def test_a_shape_that_was_set_in_place_is_no_commits_affair_and_not_changed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (4,)) as a:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            a.shape = (2, 2)
            a[1, 1] = 5
            a.commit()
            for call in (lambda: a.append([[1, 2]]), lambda: a.resize_rows(1), a.rollback):
                with pytest.raises(ValueError, match="set in place"):
                    call()
            a.shape = (4,)
        a.append(6)
        a.commit()
    assert np.load(path).tolist() == [0, 0, 0, 5, 6]


# ---- the end ----


def test_a_closed_array_can_be_looked_at_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    a = opened(path, "i8", (1000,))
    a[:] = 7
    a.commit()
    view = np.asarray(a)[1:]
    plain = np.asarray(a)[::2]
    a[0] = 8
    a.close()
    a.close()
    assert np.load(path).tolist() == [7] * 1000
    assert a[0] == 8 and view.sum() == 7 * 999 and plain[1] == 7
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1
    view[0] = plain[1] = 3
    for call in (
        a.commit,
        a.commit_async,
        a.rollback,
        lambda: a.append(1),
        lambda: a.resize_rows(1),
        lambda: a.map,
        a[1:].commit,
        a.__enter__,
    ):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert np.load(path).tolist() == [7] * 1000
    opened(path).close()
    del a, view
    gc.collect()
    assert plain[1] == 3


def test_with_closes_and_what_was_not_committed_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(RuntimeError, match="mine"), opened(path, "i8", (2,)) as a:
        a[:] = 1
        a.commit()
        a.append(2)
        raise RuntimeError("mine")
    assert np.load(path).tolist() == [1, 1]
    opened(path).close()


def test_an_array_that_is_dropped_leaves_the_last_commit_in_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    a = opened(path, "i8", (2,))
    a[:] = 1
    a.commit()
    a[:] = 2
    view = a[1:]
    del a
    assert view.tolist() == [2]
    with pytest.raises(steadfast.Locked):
        opened(path)
    view.append(3)
    view.commit()
    del view
    assert np.load(path).tolist() == [2, 2, 3] and os.listdir(tmp_path) == ["a.npy"]


def test_the_end_of_the_interpreter_leaves_the_last_commit_in_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    done = ran(
        """
        import sys, steadfast
        a = steadfast.open_array(sys.argv[1], "i8", (2,), allow_volatile=True)
        a[:] = 1
        a.commit()
        a[:] = 2
        """,
        path,
    )
    assert done.returncode == 0, done.stderr
    assert np.load(path).tolist() == [1, 1] and os.listdir(tmp_path) == ["a.npy"]


def test_a_forked_child_is_refused_without_waiting_for_anybody(tmp_path: Path) -> None:
    done = ran(
        """
        import os, sys, threading, warnings, steadfast
        warnings.simplefilter("ignore")
        a = steadfast.open_array(sys.argv[1], "i8", (2,), allow_volatile=True)
        a[:] = 1
        a.commit()
        # Another thread is in a call when the process is forked.
        held, go = threading.Event(), threading.Event()
        def hold():
            with a._store.lock:
                held.set()
                go.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            for call in (a.commit, a.commit_async, a.rollback, lambda: a.append(1), lambda: a.resize_rows(1), a.close):
                try:
                    call()
                except steadfast.Forked:
                    continue
                except BaseException as error:
                    print("not refused:", repr(error), flush=True)
                os._exit(1)
            os._exit(0 if a.tolist() == [1, 1] and a.shape == (2,) else 2)
        go.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        a.append(5)
        a.commit()
        a.close()
        """,
        tmp_path / "a.npy",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert np.load(tmp_path / "a.npy").tolist() == [1, 1, 5]


def test_threads_append_store_and_commit_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        return threading.Thread(target=run)

    with opened(path, "i8", (0, 2)) as a:

        def append(of: int) -> None:
            for n in range(150):
                a.append([[of, n]])

        def commit() -> None:
            for _ in range(30):
                a.commit()
                # A reader finds whole rows, and as many as the header says.
                found = opened(path, mode="r")
                assert not (found[:, 0] == 0).any()

        threads = [guarded(lambda of=of: append(of)) for of in (1, 2, 3)] + [guarded(commit)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert a.shape == (450, 2)
        for of in (1, 2, 3):
            assert a[a[:, 0] == of][:, 1].tolist() == list(range(150))
        a.commit()
    assert np.load(path).shape == (450, 2)


def test_an_async_commit_is_what_was_there_when_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (1,)) as a:
        a.append([1, 2])
        ticket = a.commit_async()
        a.append(3)
        assert ticket.wait() == ticket.id
        assert on_disk(path).tolist() == [0, 1, 2]


# ---- the module ----


def test_the_examples_of_the_docs_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    methods = [steadfast.array.commit, steadfast.array.append, steadfast.array.transaction]
    told = [steadfast, steadfast.open_array, steadfast.memmap, *methods]
    for documented in told:
        name = documented.__name__
        names = {"steadfast": steadfast, "numpy": np}
        examples = doctest.DocTestFinder(recurse=False).find(documented, name, globs=names)
        assert sum(len(example.examples) for example in examples) >= 1, name
        for example in examples:
            said: list[str] = []
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                doctest.DocTestRunner().run(example, out=said.append)
            assert not said, "".join(said)


def test_without_numpy_all_the_rest_works(tmp_path: Path) -> None:
    done = ran(
        """
        import sys
        sys.modules["numpy"] = None
        import steadfast
        with steadfast.load(sys.argv[1], create=True, length=10, allow_volatile=True) as map:
            map[0:2] = b"ab"
            map.commit()
        try:
            steadfast.open_array
        except ImportError as error:
            assert "pip install numpy" in str(error), error
        else:
            sys.exit("no error")
        """,
        tmp_path / "a",
    )
    assert done.returncode == 0, done.stderr


def test_numpy_is_imported_when_it_is_first_asked_for() -> None:
    done = ran(
        """
        import sys, steadfast
        assert "numpy" not in sys.modules
        assert {"array", "open_array", "memmap"} <= set(dir(steadfast)) & set(steadfast.__all__)
        assert "numpy" not in sys.modules
        for name in ("open_array", "array", "memmap"):
            assert getattr(steadfast, name).__module__ == "steadfast", name
        assert "numpy" in sys.modules
        try:
            steadfast.nothing
        except AttributeError as error:
            assert "'steadfast' has no attribute 'nothing'" in str(error)
        else:
            sys.exit("no error")
        missing = [name for name in steadfast.__all__ if not hasattr(steadfast, name)]
        assert not missing, missing
        public = [name for name in vars(steadfast._native) if not name.startswith("_")]
        assert set(public) <= set(steadfast.__all__), set(public) - set(steadfast.__all__)
        assert set(steadfast._errors.__all__) <= set(steadfast.__all__)
        """
    )
    assert done.returncode == 0, done.stderr
