"""Commits that are waited for later: awaited, by other threads, with a limit."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maps import PAGE, new

import steadfast


def test_commits_are_awaited_and_the_loop_goes_on(folder: Path) -> None:
    path = folder / "a"
    m = new(path)

    async def work() -> list[int]:
        numbers = []
        for turn in range(10):
            m[turn] = turn + 1
            ticket = m.commit_async()
            assert ticket.id == await ticket
            assert await ticket == ticket.id, "a ticket is awaited as often as one likes"
            numbers.append(ticket.id)
        tickets = []
        for turn in range(10):
            m[turn] = turn + 11
            tickets.append(m.commit_async())

        async def one(ticket: Any) -> int:
            number: int = await ticket
            return number

        numbers += await asyncio.gather(*map(one, tickets))
        return numbers

    numbers = asyncio.run(work())
    assert numbers == sorted(set(numbers)) and len(numbers) == 20
    assert m.status().durable == numbers[-1]
    m.close()


def test_who_is_cancelled_while_waiting_takes_nothing_from_the_commit(folder: Path) -> None:
    path = folder / "a"
    length = 8 << 20
    m = new(path, length)

    async def work() -> int:
        for turn in range(1, 6):
            np.frombuffer(m, np.uint8)[::PAGE] = turn
            ticket = m.commit_async()

            async def wait(ticket: Any = ticket) -> int:
                number: int = await ticket
                return number

            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)  # It is waiting now.
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled.append(turn)
            assert await ticket == ticket.id
        return ticket.id

    cancelled: list[int] = []
    last = asyncio.run(work())
    assert cancelled, "no wait was cancelled: this shows nothing"
    assert m.status().durable == last
    m.close()
    assert (np.fromfile(path, np.uint8)[::PAGE] == 5).all()


def test_await_outside_an_event_loop_says_so(folder: Path) -> None:
    with new(folder / "a") as m:
        with pytest.raises(RuntimeError, match="no running event loop"):
            m.commit_async().__await__()


def test_a_ticket_is_waited_for_by_many_threads_also_after_close(folder: Path) -> None:
    m = new(folder / "a")
    m[0:1] = b"x"
    ticket = m.commit_async()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ticket.wait())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    m.close()
    assert found == [ticket.id] * 8
    assert ticket.is_done() and ticket.wait() == ticket.wait(0) == ticket.id
    for wrong in [float("nan"), -1.0]:
        with pytest.raises(steadfast.InvalidInput, match="seconds"):
            ticket.wait(wrong)
    with pytest.raises(TypeError):
        ticket.wait("soon")


def test_a_wait_without_success_is_a_timeout_error(folder: Path) -> None:
    m = new(folder / "a", 32 << 20)
    seen = False
    for turn in range(1, 20):
        np.frombuffer(m, np.uint8)[::PAGE] = turn
        ticket = m.commit_async()
        try:
            ticket.wait(0)
        except TimeoutError as error:
            assert f"commit {ticket.id}" in str(error)
            seen = True
            break
    assert seen, "every commit was over at once: this shows nothing"
    ticket.wait()
    m.close()
