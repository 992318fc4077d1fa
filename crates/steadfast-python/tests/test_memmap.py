"""`steadfast.memmap`: as `numpy.memmap`, in what it takes, gives and refuses; and a flush that is all or nothing."""

from __future__ import annotations

import gc
import io
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import steadfast
from steadfast import _memmap


@pytest.fixture
def durable(tmp_path: Path) -> Path:
    """A folder on a file system that keeps what is committed: elsewhere memmap is the kernel's mapping."""
    try:
        steadfast.load(tmp_path / "probe", create=True, length=1).close()
    except steadfast.Unsupported as error:
        pytest.skip(f"needs a folder for tests on a disk: {error}")
    os.unlink(tmp_path / "probe")
    return tmp_path


@pytest.fixture(params=["disk", "kernel"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twice: as it is, and where nothing better than the kernel's mapping is to be had."""
    monkeypatch.setattr(_memmap, "_warned", True)
    if request.param == "kernel":

        def unsupported(*given: Any, **named: Any) -> None:
            raise steadfast.Unsupported(None, "open: not here", None)

        monkeypatch.setattr(_memmap, "load", unsupported)
    return tmp_path


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or which error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = call()
        return (
            found.shape,
            found.dtype,
            found.offset,
            found.mode,
            found.flags.writeable,
            found.flags.c_contiguous,
            found.tolist(),
        )
    except OverflowError:
        # What mmap says of some offsets behind the end, as it comes; others are a ValueError.
        return ValueError
    except Exception as error:
        return next(
            kind
            for kind in (FileNotFoundError, PermissionError, ValueError, TypeError, OSError, Exception)
            if isinstance(error, kind)
        )


def numpy_refuses_empty_arrays() -> bool:
    with tempfile.TemporaryFile() as file:
        try:
            np.memmap(file, mode="w+", shape=0)
        except ValueError:
            return True
    return False


MINUS_ONE = np.intp(-1)
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("f4",), {}),
    (("f4", "r"), {}),
    (("f4", "c"), {}),
    (("f4", "r+"), {}),
    (("f4", "readonly"), {}),
    (("f4", "copyonwrite"), {}),
    (("f4", "readwrite"), {}),
    (("f4", "write"), {"shape": 3}),
    (("f4", "w+"), {}),
    (("f4", "w+"), {"shape": (2, 3)}),
    (("f4", "w+", 0, (2, 3), "F"), {}),
    (("f4", "w+"), {"shape": 0}),
    (("f4", "w+"), {"shape": (0, 4), "offset": 4096}),
    (("f4", "r+", 4), {}),
    (("f4", "r+", 4, 2), {}),
    (("f4", "r+", 3), {}),
    (("f4", "r+", 5000, 2), {}),
    (("f4", "r+", 5000), {}),
    (("f4", "r+", 0, 5000), {}),
    (("f4", "r+", 8192, 0), {}),
    (("f4", "r", 8, (2, 2)), {}),
    (("f4", "r", 0, 5000), {}),
    (("f4", "r", 5000, 1), {}),
    (("f4", "r", 5000), {}),
    (("f4", "c", 0, 5000), {}),
    (("f4", "r", 40), {}),
    (("f4", "r", 40, 0), {}),
    (("f8", "r", 4), {}),
    (("f8", "r+", 4), {}),
    (("f8", "a"), {}),
    (("f8", None), {}),
    (("nonsense",), {}),
    ((">i2", "r+"), {"shape": np.intp(4)}),
    ((">i2", "r+"), {"shape": [2, 2]}),
    ((">i2", "r+"), {"shape": np.array([2, 2])}),
    ((">i2", "r+"), {"shape": ()}),
    ((">i2", "r+"), {"shape": MINUS_ONE}),
    ((">i2", "r+"), {"shape": (2, -2)}),
    ((">i2", "r+"), {"shape": "2"}),
    ((">i2", "r+"), {"shape": 2.0}),
    ((">i2", "r+"), {"offset": -2, "shape": 1}),
    ((("i2", (3,)), "r+"), {"shape": 2}),
    (("S4", "r"), {}),
    (([("a", "u1"), ("b", "u1")], "r+"), {}),
]


@pytest.mark.parametrize("length", [0, 40, 4096])
@pytest.mark.parametrize(("given", "named"), CALLS, ids=str)
def test_what_numpy_gives_is_given_and_what_it_refuses_is_refused(
    folder: Path, given: tuple[Any, ...], named: dict[str, Any], length: int
) -> None:
    content = bytes(range(48, 88)).ljust(length, b"x")[:length]
    ours, theirs = folder / "ours", folder / "theirs"
    found = []
    for path, memmap in ((theirs, np.memmap), (ours, steadfast.memmap)):
        path.write_bytes(content)
        result = outcome(lambda path=path, memmap=memmap: memmap(path, *given, **named))
        gc.collect()
        found.append((result, path.read_bytes()))
    (want, want_bytes), (got, got_bytes) = found
    if named.get("shape") is MINUS_ONE or (given == ("f4", "r+", 4) and length == 0):
        # An accident of NumPy's: to ndarray a length of -1 is "what there is", which is nothing. An empty array helps
        # nobody.
        assert want is ValueError or want[0] == (0,)
        assert got is ValueError and got_bytes == content
        return
    if want is ValueError and isinstance(got, tuple) and 0 in got[0] and numpy_refuses_empty_arrays():
        # Later versions do not.
        return
    assert got == want
    if isinstance(want, tuple):
        assert got_bytes == want_bytes
    else:
        # NumPy has sometimes changed the file by the time it refuses.
        assert got_bytes in (content, want_bytes)
    assert sorted(os.listdir(folder)) == ["ours", "theirs"], "no journal is left"


@pytest.mark.parametrize("dtype", ["O", [("a", "O")], "U"])
def test_dtypes_that_are_not_in_the_bytes_are_refused_before_the_file_is_touched(folder: Path, dtype: Any) -> None:
    # NumPy's memmap takes what lies there for addresses of objects.
    with pytest.raises(ValueError, match="Python objects|have no bytes"):
        steadfast.memmap(folder / "a", dtype, "w+", shape=3)
    assert not os.listdir(folder)


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_a_file_that_is_not_there_is_not_found(folder: Path, mode: Any) -> None:
    with pytest.raises(FileNotFoundError):
        steadfast.memmap(folder / "none", mode=mode)
    with pytest.raises(IsADirectoryError):
        steadfast.memmap(folder, mode="r+")
    assert not os.listdir(folder)


def test_names_are_numpys(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(10))
    relative = os.path.relpath(path)
    for filename in (str(path), path, relative, Path(relative), os.fsencode(path)):
        assert steadfast.memmap(filename).filename == np.memmap(filename).filename
    with open(path, "r+b") as file:
        assert steadfast.memmap(file).filename == np.memmap(file).filename == str(path)
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        assert steadfast.memmap(file).filename is None


def test_a_file_object_is_not_truncated_and_need_not_stay_open(folder: Path) -> None:
    path = folder / "a"
    with open(path, "w+b") as file:
        file.write(b"header")
        a = steadfast.memmap(file, mode="w+", offset=6, shape=4)
    a[:] = 65
    a.flush()
    assert path.read_bytes() == b"headerAAAA"
    with open(path, "rb") as file:
        with pytest.raises(PermissionError):
            steadfast.memmap(file, mode="r+")
        assert steadfast.memmap(file, mode="r").tobytes() == b"headerAAAA"
    with pytest.raises(io.UnsupportedOperation):
        steadfast.memmap(io.BytesIO(b"abc"))


def test_a_flush_is_seen_by_whoever_reads_the_file(folder: Path) -> None:
    path = folder / "a"
    a = steadfast.memmap(path, "i4", "w+", shape=(3, 4))
    assert path.stat().st_size == 48
    a[1] = 7
    a.flush()
    assert np.fromfile(path, "i4").reshape(3, 4).tolist() == a.tolist()
    assert np.memmap(path, "i4", "r", shape=(3, 4))[1, 1] == 7
    a[2] = 8
    a[2:].flush()
    assert np.fromfile(path, "i4")[-1] == 8


def test_stores_are_private_until_a_flush_and_a_kill_leaves_the_last_one(durable: Path) -> None:
    path = durable / "a"
    program = """
        import sys, steadfast
        a = steadfast.memmap(sys.argv[1], "i8", "w+", shape=100_000)
        n = 0
        while True:
            n += 1
            a[:] = n
            a.flush()
            print(n, flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(20):
        told = int(child.stdout.readline())
    child.kill()
    told = int([told, *child.stdout.read().split()][-1])
    child.wait()
    # The journal waits for recovery: a reader is shown the commit, and not the file as it lies there.
    for mode in ("r", "c", "r+"):
        a = steadfast.memmap(path, "i8", mode)
        assert a[0] in (told, told + 1) and (a == a[0]).all(), mode
        del a
    b = steadfast.memmap(path, "i8", "r+")
    b[0] = -1
    assert np.fromfile(path, "i8")[0] != -1
    b.flush()
    assert np.fromfile(path, "i8")[0] == -1


def test_the_end_of_the_last_view_commits(durable: Path) -> None:
    path = durable / "a"
    a = steadfast.memmap(path, "i4", "w+", shape=10)
    a[:] = 5
    rows = np.asarray(a[2:])
    del a
    rows[0] = 6
    assert np.fromfile(path, "i4").tolist() == [0] * 10
    del rows
    assert np.fromfile(path, "i4").tolist() == [5, 5, 6, 5, 5, 5, 5, 5, 5, 5]
    assert os.listdir(durable) == ["a"]


def test_the_end_of_the_interpreter_commits(durable: Path) -> None:
    path = durable / "a"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, steadfast; a = steadfast.memmap(sys.argv[1], mode='w+', shape=4); a[:] = 65",
            str(path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b"AAAA" and os.listdir(durable) == ["a"]


def test_memmaps_of_one_file_share_its_memory(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(100))
    a = steadfast.memmap(path)
    b = steadfast.memmap(path, "u2", offset=10, shape=5)
    os.symlink(path, folder / "b")
    reader = steadfast.memmap(folder / "b", mode="r")
    b[0] = 0x4142
    assert a[10] == 0x42 and reader[10] == 0x42 and not reader.flags.writeable
    private = steadfast.memmap(path, mode="c")
    private[0] = 99
    assert a[0] == 0 and private[10] == 0x42 and private.flags.writeable
    b.flush()
    assert path.read_bytes()[10] == 0x42
    del a, b
    gc.collect()
    assert reader[10] == 0x42
    with pytest.raises(ValueError, match="read-only"):
        reader[0] = 1
    reader.flush()
    private.flush()


def test_threads_open_store_and_let_go_of_one_file_at_once(durable: Path) -> None:
    path = durable / "a"
    path.write_bytes(bytes(8 * 4))
    errors: list[BaseException] = []

    def count(place: int) -> None:
        try:
            for n in range(100):
                a = steadfast.memmap(path, "i8")
                assert a[place] == n
                a[place] += 1
                if n % 3 == 0:
                    a.flush()
                del a
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=count, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert np.fromfile(path, "i8").tolist() == [100] * 4 and os.listdir(durable) == ["a"]


def test_another_memmap_makes_a_file_longer_that_is_mapped(durable: Path) -> None:
    path = durable / "a"
    path.write_bytes(bytes(100))
    a = steadfast.memmap(path)
    b = steadfast.memmap(path, shape=100_000)
    b[5] = b[-1] = 9
    assert a[5] == 9 and path.stat().st_size == 100_000
    a.flush()
    assert path.read_bytes()[-1] == 9
    # Anew, under the eyes of others: zeros, and not shorter.
    c = steadfast.memmap(path, mode="w+", shape=50)
    assert not a.any() and not b.any() and c.shape == (50,)
    with pytest.raises(ValueError, match="greater than file size"):
        steadfast.memmap(path, mode="r", shape=100_001)


def test_a_memmap_that_could_not_be_made_leaves_what_was_there(durable: Path) -> None:
    path = durable / "a"
    path.write_bytes(b"precious")
    with steadfast.load(path) as map:
        with pytest.raises(steadfast.Locked):
            steadfast.memmap(path, mode="w+", shape=3)
        assert path.read_bytes() == b"precious"
        map[0:1] = b"P"
        map.commit()
        # The file as it lies there is another matter.
        assert steadfast.memmap(path, mode="r").tobytes() == b"Precious"
    with pytest.raises((steadfast.Error, MemoryError, ValueError)):
        steadfast.memmap(path, mode="r+", shape=1 << 61)
    with pytest.raises((steadfast.Error, MemoryError, ValueError)):
        steadfast.memmap(path, mode="w+", shape=1 << 61)
    assert path.read_bytes() == b"Precious"


def test_what_cannot_commit_is_the_kernels_mapping_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_memmap, "_warned", False)
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    os.link(path, tmp_path / "b")
    with pytest.warns(RuntimeWarning, match="flush.. is durable but not all or nothing") as caught:
        a = steadfast.memmap(path)
    assert caught[0].filename == __file__
    a[0] = 65
    a.flush()
    assert path.read_bytes() == b"Abc"
    del a
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steadfast.memmap(path)


def test_an_unnamed_file_grows_and_is_flushed(tmp_path: Path) -> None:
    with tempfile.TemporaryFile(dir=tmp_path) as file, warnings.catch_warnings():
        warnings.simplefilter("error")
        a = steadfast.memmap(file, "i4", shape=(2, 3))
        a[:] = 5
        a.flush()
        again = steadfast.memmap(file, "i4", shape=(2, 3))
        assert again.tolist() == [[5] * 3] * 2
        file.seek(0)
        assert file.read() == a.tobytes()


def test_pickles_are_of_the_content(folder: Path) -> None:
    a = steadfast.memmap(folder / "a", "i4", "w+", shape=3)
    a[:] = 4
    again = pickle.loads(pickle.dumps(a))
    assert again.tolist() == [4, 4, 4] and again._mmap is None and again.filename is None
    again.flush()
    assert (
        (a + 1)[0] == 5 and type(a + 1) is np.ndarray and type(a[[0]]) is np.ndarray and type(a[:1]) is steadfast.memmap
    )


def test_a_forked_child_neither_flushes_nor_shares(durable: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import os, sys, warnings, steadfast
                warnings.simplefilter("ignore")
                a = steadfast.memmap(sys.argv[1], mode="w+", shape=4)
                a[:] = 1
                a.flush()
                child = os.fork()
                if child == 0:
                    a[:] = 2
                    try:
                        a.flush()
                    except steadfast.Forked:
                        pass
                    else:
                        os._exit(1)
                    try:
                        steadfast.memmap(sys.argv[1])
                    except steadfast.Locked:
                        pass
                    else:
                        os._exit(2)
                    del a
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                a[0] = 3
                a.flush()
            """),
            str(durable / "a"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (durable / "a").read_bytes() == b"\x03\x01\x01\x01"


def test_numpys_open_memmap_works_on_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a.npy"
    monkeypatch.setattr(np, "memmap", steadfast.memmap)
    monkeypatch.setattr(np.lib.format.open_memmap.__globals__["numpy"], "memmap", steadfast.memmap)
    a = np.lib.format.open_memmap(path, "w+", "f8", (3, 2))
    a[:] = 5
    a.flush()
    assert np.load(path).tolist() == [[5, 5]] * 3
    assert isinstance(np.load(path, mmap_mode="r"), steadfast.memmap)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_the_orderly_end_of_a_process_of_multiprocessing_commits(tmp_path: Path, method: str) -> None:
    (tmp_path / "work.py").write_text(
        "from steadfast import memmap\n"
        "def work(path):\n"
        "    global kept\n"
        "    kept = memmap(path, mode='w+', shape=10)\n"
        "    kept[0] = 42\n"
    )
    program = (
        "import multiprocessing, sys\n"
        "import work\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context(sys.argv[1]).Process(target=work.work, args=('data',))\n"
        "    child.start()\n"
        "    child.join()\n"
        "    sys.exit(child.exitcode)\n"
    )
    (tmp_path / "main.py").write_text(program)
    subprocess.run([sys.executable, "main.py", method], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "data").read_bytes()[0] == 42
