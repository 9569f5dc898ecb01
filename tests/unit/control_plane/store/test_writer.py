"""The writer's limits and its behaviour when the database itself refuses."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session

from control_plane.store.writer import MAX_GROUP, Writer, WriterClosed, WriterOverloaded


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE entry (name TEXT UNIQUE)"))
    yield engine
    engine.dispose()


class Held:
    """Occupies the writer's thread until `release`, so that what is submitted meanwhile is one group."""

    def __init__(self, writer: Writer) -> None:
        self._entered, self._release = threading.Event(), threading.Event()
        self._future = writer.submit(self._wait)
        assert self._entered.wait(30)

    def _wait(self, _session: Session) -> None:
        self._entered.set()
        assert self._release.wait(30)

    def release(self) -> None:
        self._release.set()
        self._future.result(30)


def _insert(name: str) -> Callable[[Session], None]:
    def unit(session: Session) -> None:
        session.execute(text("INSERT INTO entry VALUES (:name)"), {"name": name})

    return unit


def _names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT name FROM entry ORDER BY name")).scalars())


def _outcomes(futures: list[Future[None]]) -> list[bool]:
    return [future.exception(30) is None for future in futures]


def test_beyond_its_limit_the_queue_refuses(engine: Engine) -> None:
    writer = Writer(engine, max_waiting=2)
    held = Held(writer)
    waiting = [writer.submit(lambda session: None) for _ in range(2)]
    with pytest.raises(WriterOverloaded, match="2 writes are waiting"):
        writer.submit(lambda session: None)
    held.release()
    assert _outcomes(waiting) == [True, True]
    writer.close()


def test_a_closed_writer_refuses(engine: Engine) -> None:
    writer = Writer(engine)
    writer.close()
    with pytest.raises(WriterClosed):
        writer.submit(lambda session: None)


def test_many_failures_in_one_group_leave_the_rest_committed(engine: Engine) -> None:
    writer = Writer(engine)
    held = Held(writer)
    # Every third is a duplicate: more failures than a group is repeated for.
    names = ["same" if number % 3 == 0 else f"n{number:02}" for number in range(30)]
    futures = [writer.submit(_insert(name)) for name in names]
    held.release()
    assert _outcomes(futures) == [name != "same" or number == 0 for number, name in enumerate(names)]
    assert _names(engine) == sorted(set(names))
    writer.close()


def test_more_than_a_group_is_taken_in_several(engine: Engine) -> None:
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    writer = Writer(engine)
    held = Held(writer)
    futures = [writer.submit(_insert(str(number))) for number in range(MAX_GROUP + 1)]
    held.release()
    assert all(_outcomes(futures))
    assert len(commits) == 3  # the one that held, a full group, the rest
    writer.close()


def test_a_commit_that_fails_reaches_every_waiter_and_the_writer_goes_on(engine: Engine) -> None:
    def refuse(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    writer = Writer(engine)
    held = Held(writer)
    futures = [writer.submit(_insert(name)) for name in "ab"]
    event.listen(engine, "commit", refuse)
    with pytest.raises(OperationalError):
        held.release()
    assert _outcomes(futures) == [False, False]
    event.remove(engine, "commit", refuse)
    assert writer.submit(_insert("c")).exception(30) is None
    assert _names(engine) == ["c"]
    writer.close()


def _insert_all(session: Session, names: list[str]) -> list[str]:
    session.execute(text("INSERT INTO entry VALUES (:name)"), [{"name": name} for name in names])
    return [f"{name} is in" for name in names]


async def test_the_items_of_a_group_are_written_by_one_call_with_a_result_for_each(engine: Engine) -> None:
    writer = Writer(engine)
    held = Held(writer)
    batches: list[list[str]] = []

    def save_all(session: Session, names: list[str]) -> list[str]:
        batches.append(list(names))
        return _insert_all(session, names)

    written = [writer.submit_item(save_all, name) for name in ("one", "two")]
    unit = writer.submit_awaited(_insert("three"))
    written.append(writer.submit_item(save_all, "four"))
    held.release()
    await unit
    assert await asyncio.gather(*written) == ["one is in", "two is in", "four is in"]
    writer.close()
    assert batches == [["one", "two"], ["four"]]
    assert _names(engine) == ["four", "one", "three", "two"]


async def test_items_of_two_functions_are_a_batch_each_and_pass_no_unit(engine: Engine) -> None:
    writer = Writer(engine)
    held = Held(writer)
    batches: list[str] = []

    def first(_session: Session, items: list[str]) -> list[str]:
        batches.append(f"first {' '.join(items)}")
        return items

    def second(_session: Session, items: list[str]) -> list[str]:
        batches.append(f"second {' '.join(items)}")
        return [item.upper() for item in items]

    written = [writer.submit_item(second if name in "bdf" else first, name) for name in "abcd"]
    unit = writer.submit_awaited(lambda _session: batches.append("unit"))
    written += [writer.submit_item(second if name in "bdf" else first, name) for name in "fe"]
    held.release()
    await unit
    assert await asyncio.gather(*written) == ["a", "B", "c", "D", "F", "e"]
    writer.close()
    assert batches == ["first a c", "second b d", "unit", "second f", "first e"]


async def test_a_batch_with_a_result_too_few_fails_and_the_writer_goes_on(engine: Engine) -> None:
    writer = Writer(engine)
    with pytest.raises(TypeError, match="1 items were written together, with 0 results"):
        await writer.submit_item(lambda session, names: _insert_all(session, names)[1:], "one")
    assert await writer.submit_item(_insert_all, "two") == "two is in"
    writer.close()
    assert _names(engine) == ["two"]


async def test_an_item_that_fails_fails_alone(engine: Engine) -> None:
    writer = Writer(engine)
    held = Held(writer)
    written = [writer.submit_item(_insert_all, name) for name in ("one", "two", "one", "three")]
    held.release()
    outcomes = await asyncio.gather(*written, return_exceptions=True)
    writer.close()
    assert [type(outcome) for outcome in outcomes] == [str, str, IntegrityError, str]
    assert _names(engine) == ["one", "three", "two"]


async def test_an_item_that_was_withdrawn_is_not_written(engine: Engine) -> None:
    writer = Writer(engine)
    held = Held(writer)
    gone, kept = writer.submit_item(_insert_all, "gone"), writer.submit_item(_insert_all, "kept")
    gone.cancel()
    held.release()
    await kept
    writer.close()
    assert _names(engine) == ["kept"]
