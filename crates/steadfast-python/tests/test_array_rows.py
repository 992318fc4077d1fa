"""Arrays that grow and are cut, header and rows together."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import on_disk, opened
from hypothesis import given, settings
from hypothesis import strategies as st

import steadfast


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "resize", "store", "commit", "rollback", "reopen"]), st.integers(0, 9)),
        max_size=25,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_done_the_array_is_what_a_list_would_be(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("model") / "a.npy"
    a = opened(path, "i4", (-1, 2))
    now: list[list[int]] = []
    committed: list[list[int]] = []
    for step, n in steps:
        if step == "append":
            rows = [[n, k] for k in range(n)]
            a.append(np.array(rows, "i4").reshape(-1, 2))
            now = now + rows
        elif step == "resize":
            a.resize_rows(n)
            now = now[:n] + [[0, 0]] * (n - len(now))
        elif step == "store" and now:
            a[n % len(now)] = n
            now = [[n, n] if at == n % len(now) else row for at, row in enumerate(now)]
        elif step == "commit":
            a.commit()
            committed = now
            assert np.array_equal(on_disk(path), np.array(now, "i4").reshape(-1, 2))
        elif step == "rollback":
            a.rollback()
            now = committed
        elif step == "reopen":
            a.close()
            now = committed
            a = opened(path, "i4", (-1, 2))
        assert a.shape == (len(now), 2) and a.tolist() == now
        assert len(a.map) == 4096 + a.nbytes and a.flags.c_contiguous and a.map.exports == 1
    a.close()


def test_rollback_after_append_and_after_a_cut_brings_the_shape_back(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (2,)) as a:
        a[:] = [1, 2]
        a.commit()
        a.append([3, 4, 5])
        a.rollback()
        assert a.tolist() == [1, 2]
        a.resize_rows(0)
        assert a.tolist() == []
        a.rollback()
        assert a.tolist() == [1, 2]


def test_an_array_can_be_appended_to_itself_and_views_of_it_too(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (3,)) as a:
        a[:] = [1, 2, 3]
        a.append(a)
        a.append(a[::-2])
        a.append(np.asarray(a)[1:3])
        assert a.tolist() == [1, 2, 3] + [1, 2, 3] + [3, 1, 2] + [2, 3]


def test_a_view_of_rows_that_were_cut_can_be_appended_and_crashes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (6,)) as a:
        a[:] = range(6)
        a.commit()
        # A plain array: nothing counts it.
        stale = np.asarray(a)[3:]
        a.resize_rows(3)
        assert stale.shape == (3,)
        stale[:] = 77
        # The rows are what the view shows when they are appended.
        a.append(stale)
        assert a.tolist() == [0, 1, 2, 77, 77, 77]
        a.commit()
        a.resize_rows(3)
        stale[:] = 55
        a.resize_rows(6)
        assert a.tolist() == [0, 1, 2, 0, 0, 0]
        a.rollback()
        assert a.tolist() == [0, 1, 2, 77, 77, 77]


def test_growth_moves_nothing_and_views_stay_what_they_are(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (2,)) as a:
        address = a.__array_interface__["data"][0]
        view, plain = a[:1], np.asarray(a)
        for n in range(50):
            a.append(np.full(1000, n))
        assert a.__array_interface__["data"][0] == address
        assert a.shape == (50_002,) and view.shape == (1,) and plain.shape == (2,)
        view[0] = plain[1] = 9
        assert plain.tolist() == [9, 9]
        assert a.commit() == view.map.commit()
        del view


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        (np.zeros((2, 3)), steadfast.InvalidInput, r"rows of shape \(2, 3\) do not fit an array of \(1, 2\)"),
        (np.zeros((2, 2, 2)), steadfast.InvalidInput, "do not fit"),
        (np.zeros(3), steadfast.InvalidInput, "do not fit"),
        (5, steadfast.InvalidInput, "do not fit"),
        ([], steadfast.InvalidInput, "do not fit"),
        ([[1.5, 2.0]], TypeError, "float64 cannot be cast to int32"),
        ([["a", "b"]], TypeError, "cannot be cast"),
        ([[1, 2**31]], steadfast.InvalidInput, "not all values"),
        (np.array([[1, 2**40]]), steadfast.InvalidInput, "not all values"),
        (np.array([[1, 2]], "M8[s]"), TypeError, "cannot be cast"),
        (np.array([[1, None]]), TypeError, "cannot be cast"),
        ([[1], [1, 2]], ValueError, "inhomogeneous"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_has_changed(
    tmp_path: Path, rows: Any, error: type[Exception], said: str
) -> None:
    with opened(tmp_path / "a.npy", "i4", (1, 2)) as a:
        with pytest.raises(error, match=said):
            a.append(rows)
        assert a.shape == (1, 2) and len(a.map) == 4096 + 8
        a.append([[1, 2], [3, -4]])
        assert a.tolist() == [[0, 0], [1, 2], [3, -4]]


@pytest.mark.parametrize(
    ("dtype", "rows", "fits"),
    [
        ("u1", [1, 255], True),
        ("u1", [256], False),
        ("u1", [-1], False),
        ("u1", np.array([1, 2]), False),
        ("f4", [1.1, 2], True),
        ("f4", [1e300], False),
        ("f4", [np.inf, np.nan], True),
        ("f8", np.arange(3, dtype=">f4"), True),
        ("f8", np.arange(3), True),
        ("U3", ["abc"], True),
        ("U3", ["abcd"], False),
        ("S3", [b"abcd"], False),
        ("M8[D]", np.array(["2020-01-01", "NaT"], "M8[s]"), True),
        ("M8[D]", np.array(["2020-01-01T10"], "M8[s]"), False),
        (">i2", np.arange(3, dtype="<i2"), True),
        ("?", [True], True),
        ("?", [2], False),
        ("i8", [True, False], True),
    ],
)
def test_values_are_not_cut(tmp_path: Path, dtype: str, rows: Any, fits: bool) -> None:
    with opened(tmp_path / "a.npy", dtype, (0,)) as a:
        if fits:
            a.append(rows)
            want = np.asarray(rows).astype(dtype)
            assert a.tobytes() == want.tobytes()
        else:
            with pytest.raises((TypeError, ValueError)):
                a.append(rows)
            assert a.shape == (0,)


def test_rows_without_bytes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "f8", (0, 0)) as a:
        a.append(np.zeros((5, 0)))
        assert a.shape == (5, 0)
        a.commit()
        a.append(np.zeros((1, 0)))
        a.rollback()
        assert a.shape == (5, 0)
        a.append(np.zeros((0, 0)))
    assert np.load(path).shape == (5, 0)


@pytest.mark.parametrize("rows", [-1, 2**70, 1.5, "3", None])
def test_a_number_of_rows_that_is_none_is_refused(tmp_path: Path, rows: Any) -> None:
    with opened(tmp_path / "a.npy", "f8", (2,)) as a:
        with pytest.raises((ValueError, TypeError)):
            a.resize_rows(rows)
        assert a.shape == (2,)


def test_more_rows_than_are_reserved_are_refused_and_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "u1", (10,), reserve=1 << 20) as a:
        a[:] = 1
        with pytest.raises(steadfast.LimitExceeded, match="reserve more"):
            a.resize_rows(1 << 40)
        assert a.tolist() == [1] * 10 and len(a.map) == 4106
        a.commit()
    assert np.load(path).tolist() == [1] * 10


def test_rows_are_not_cut_while_others_look_at_the_map(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (4,)) as a:
        a[:] = range(4)
        with memoryview(a.map) as view:
            with pytest.raises(BufferError, match="views of it are alive"):
                a.resize_rows(1)
            assert a.tolist() == [0, 1, 2, 3]
            a.append(4)
            with pytest.raises(BufferError):
                a.rollback()
            assert a.tolist() == [0, 1, 2, 3, 4]
            with pytest.raises(BufferError):
                a.close()
            a.commit()
            assert len(view) == 4096 + 32
        a.resize_rows(1)
        assert a.tolist() == [0]


def test_a_signal_handler_in_the_midst_of_an_append_commits_nothing_of_it(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (-1, 4)) as a:
        refused = 0

        def handler(*_: object) -> None:
            nonlocal refused
            try:
                a.commit_async()
            except steadfast.Busy:
                refused += 1

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            for n in range(20_000):
                a.append([n] * 4)
                if refused > 3 and n > 1000:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert a.shape == (n + 1, 4) and a[:, 0].tolist() == list(range(n + 1))


def test_a_commit_of_the_map_beside_appends_is_a_whole_file(tmp_path: Path) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    over = threading.Event()
    try:
        with opened(tmp_path / "a.npy", "i8", (-1, 4)) as a:
            map = a.map

            def append() -> None:
                while not over.is_set():
                    a.append([1] * 4)

            thread = threading.Thread(target=append)
            thread.start()
            try:
                for _ in range(100):
                    map.commit()
                    map.copy_to(tmp_path / "copy.npy")
                    opened(tmp_path / "copy.npy", mode="r").close()
            finally:
                over.set()
                thread.join()
    finally:
        sys.setswitchinterval(interval)


def test_views_of_an_array_are_counted_until_they_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    a = opened(path, "i8", (4, 2))
    a[:] = 1
    a.commit()
    assert a.map.exports == 1
    for take in (
        lambda: a[1:],
        lambda: a[0],
        lambda: a.T,
        lambda: a[1:][:, 0],
        lambda: a.reshape(8),
        lambda: a.view("u8"),
    ):
        view = take()
        assert a.map.exports > 1
        for call in (lambda: a.resize_rows(1), a.close):
            with pytest.raises(BufferError, match="alive"):
                call()
        a.append([2, 2])
        with pytest.raises(BufferError, match="alive"):
            a.rollback()
        assert a.shape == (5, 2) and view.sum() > 0
        del view
        assert a.map.exports == 1, "copies, scalars and what was looked at before are not counted"
        a.rollback()
        assert a.shape == (4, 2)
    for result in (a.copy(), a + 1, a.sum(), a[0, 0], a[[0, 1]]):
        assert a.map.exports == 1, result
    a.close()
    assert np.load(path).shape == (4, 2)


def test_what_failed_in_a_block_is_told_although_its_frames_hold_views(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(KeyError):
        with opened(path, "i8", (4,)) as a:
            view = a[1:]
            raise KeyError(view[0])
    with pytest.raises(BufferError, match="alive"):
        a.close()
    del view
    a.close()
    with pytest.raises(BufferError, match="alive"):
        with opened(path) as a:
            view = a[1:]


def test_a_transaction_commits_or_brings_everything_back(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        with a[:1].transaction() as same:
            same[0] = 1
            a.append(3)
        del same
        assert on_disk(path).tolist() == [1, 0, 3]
        with pytest.raises(RuntimeError, match="mine"), a.transaction():
            a[:] = 9
            a.append([9, 9])
            raise RuntimeError("mine")
        assert a.tolist() == on_disk(path).tolist() == [1, 0, 3]
        with pytest.raises(RuntimeError, match="mine"), memoryview(a.map), a.transaction():
            view = a[:1]
            view[0] = 7
            a.append(9)
            raise RuntimeError("mine")
        assert a.tolist() == [1, 0, 3] and view[0] == 1
        del view
        a.rollback()
        a.close()
        with pytest.raises(ValueError, match="closed"), a.transaction():
            raise AssertionError("the block runs")
    reader = opened(path, mode="r")
    with pytest.raises(steadfast.ReadOnly), reader.transaction():
        pass


@pytest.mark.parametrize("tracker", [None, "write-protect", "private-copies", "declared"])
def test_stores_are_found_wherever_the_array_has_grown(tmp_path: Path, tracker: Any) -> None:
    path = tmp_path / "a.npy"
    try:
        a = opened(path, "i8", (10,), tracker=tracker)
    except steadfast.Unsupported as error:
        pytest.skip(f"needs this way to find stores: {error}")
    random = np.random.default_rng(1)
    for step in range(1, 20):
        rows = int(random.integers(1, 200_000))
        if rows > len(a):
            a.append(random.integers(0, 9, rows - len(a)))
        else:
            a.resize_rows(rows)
        for value, commit in ((step, a.commit), (-step, lambda: a.commit_async().wait())):
            a[random.integers(0, len(a), 5)] = value
            commit()
            assert np.array_equal(opened(path, mode="r"), a)
    a.close()


@pytest.mark.parametrize("tracker", [None, "write-protect", "private-copies"])
def test_stores_through_views_of_what_is_gone_crash_nothing_and_reach_nobody(tmp_path: Path, tracker: Any) -> None:
    path = tmp_path / "a.npy"
    try:
        a = opened(path, "i8", (200_000,), tracker=tracker)
    except steadfast.Unsupported as error:
        pytest.skip(f"needs this way to find stores: {error}")
    a[:] = 1
    a.commit()
    # A plain array: nothing counts it.
    stale = np.asarray(a)[100_000:]
    a.resize_rows(10)
    stale[:] = 7
    assert stale.sum() == 700_000
    a.commit()
    stale[:] = 8
    a.resize_rows(200_000)
    assert not a[10:].any()
    a.rollback()
    stale[:] = 9
    assert on_disk(path).tolist() == a.tolist() == [1] * 10
    a.close()
    stale[:] = 10
    assert np.load(path).tolist() == [1] * 10 and stale.sum() == 1_000_000
