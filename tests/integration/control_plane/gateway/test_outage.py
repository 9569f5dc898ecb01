"""The book while the store cannot be written: what is owed, what is not, and how it is made good."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select

from control_plane.access import Principal
from control_plane.economy import ExternalPolicy, Held, NewTerms, Tokens, VendorPlace, Voided
from control_plane.gateway.book import Book
from control_plane.gateway.errors import Refusal
from control_plane.gateway.limits import Limits
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.request import read_request
from control_plane.identifiers import ApiKeyId, new_attempt_id, new_call_id
from control_plane.router import AtVendor, OwnCard, Plan
from control_plane.store import Store, unix_ms
from control_plane.store.economy_tables import AttemptTerms
from control_plane.store.tables import AttemptOutcome, Call, CallOutcome, Purpose
from control_plane.vendors import VendorModel
from tests.support.gateway import TENANT, agent_view, fill
from tests.support.market import PRICE

LIMITS = Limits(record_wait_s=0.1, unwritten_calls=2)
REQUEST = read_request(
    "/v1/chat/completions", b'{"model":"tiny","messages":[{"role":"user","content":"hi"}]}'
)
PRINCIPAL = Principal(TENANT, "acme", ApiKeyId("key-general"), Purpose.GENERAL)
OWN = agent_view("one")
POLICY = ExternalPolicy(allowed=True, monthly_cap_micro_usd=10**9)


def record(candidate: OwnCard | AtVendor | None) -> CallRecord:
    made = CallRecord(new_call_id(), PRINCIPAL, Purpose.GENERAL, REQUEST, Plan((), ()), unix_ms())
    if candidate is not None:
        made.attempts.append(AttemptRecord(new_attempt_id(), 1, candidate, unix_ms()))
    return made


def own() -> CallRecord:
    return record(OwnCard(OWN, "tiny", 0.0))


def at_vendor() -> CallRecord:
    return record(AtVendor(VendorModel("v", "tiny", "t", 4_096, 512, PRICE), POLICY))


def end(made: CallRecord) -> CallRecord:
    if made.attempts:
        made.end_attempt(AttemptOutcome.FAILED, unix_ms(), Tokens(), "gone")
    made.outcome = CallOutcome.FAILED
    return made


def terms(made: CallRecord) -> NewTerms:
    return NewTerms(
        attempt_id=made.attempts[-1].id,
        call_id=made.id,
        tenant_id=TENANT,
        api_key_id=PRINCIPAL.api_key_id,
        model="tiny",
        place=VendorPlace("v", PRICE, POLICY),
        prompt_tokens=10,
        max_tokens=10,
        choices=1,
        shrinkable=False,
        now_unix_ms=unix_ms(),
    )


@pytest.fixture
def book(sqlite_store: Store) -> Book:
    fill(sqlite_store, [OWN])
    return Book(sqlite_store, LIMITS)


def stuck(*_: object) -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


async def test_what_is_not_a_cards_own_call_does_not_use_up_what_own_cards_may_owe(
    book: Book, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "write_item", stuck)
    for _ in range(5):
        refused = end(record(None))
        await book.write(refused)
        given_back = end(at_vendor())
        given_back.ending = Voided(given_back.attempts[0].id)
        assert not await book.settle(given_back)
    assert book.unwritten_count <= LIMITS.unwritten_calls
    for _ in range(LIMITS.unwritten_calls):
        await book.write(own())
    with pytest.raises(Refusal):
        await book.write(own())


async def test_a_hold_that_was_given_up_is_not_taken_behind_its_own_void(
    book: Book, sqlite_store: Store
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    blocked = asyncio.Event()

    def block(_: Session) -> None:
        loop.call_soon_threadsafe(blocked.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    blocking = asyncio.create_task(sqlite_store.write(block))
    await blocked.wait()
    made = at_vendor()
    with pytest.raises(Refusal):
        await book.reserve(made, terms(made))
    end(made).ending = Voided(made.attempts[0].id)
    settling = asyncio.create_task(book.settle(made))
    await asyncio.sleep(0)
    release.set()
    await blocking
    await settling
    await book.catch_up()
    with sqlite_store.reading() as session:
        assert session.exec(select(AttemptTerms.hold_state)).all() == []


async def test_the_hold_of_an_attempt_that_failed_in_an_outage_is_given_back_with_the_calls_end(
    book: Book, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = at_vendor()
    assert isinstance(await book.reserve(made, terms(made)), Held)
    made.end_attempt(AttemptOutcome.FAILED, unix_ms(), Tokens(), "gone")
    made.given_back.append(Voided(made.attempts[0].id))
    with monkeypatch.context() as outage:
        outage.setattr(sqlite_store, "write_item", stuck)
        await book.write(made)
    made.outcome = CallOutcome.FAILED
    assert await book.settle(made)
    with sqlite_store.reading() as session:
        assert session.exec(select(AttemptTerms.hold_state)).all() == ["void"]


async def test_a_call_that_ends_while_its_beginning_is_caught_up_is_recorded_to_its_end(
    book: Book, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own()
    with monkeypatch.context() as outage:
        outage.setattr(sqlite_store, "write_item", stuck)
        await book.write(made)
    real = sqlite_store.write_item

    def ends_meanwhile(save_all: Any, item: Any) -> "asyncio.Future[Any]":
        end(made)
        return real(save_all, item)

    with monkeypatch.context() as late:
        late.setattr(sqlite_store, "write_item", ends_meanwhile)
        await book.catch_up()
    await book.catch_up()
    assert book.unwritten_count == 0
    with sqlite_store.reading() as session:
        assert session.exec(select(Call.outcome)).one() == "failed"


async def test_one_record_that_cannot_be_written_keeps_no_other_from_it(
    book: Book, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwritable(*_: object) -> "asyncio.Future[Any]":
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(OperationalError("INSERT", {}, Exception("disk full")))
        return failed

    poisoned, good = own(), own()
    with monkeypatch.context() as outage:
        outage.setattr(sqlite_store, "write_item", unwritable)
        await book.write(poisoned)
        await book.write(good)
    poisoned.end_attempt(AttemptOutcome.COMPLETE, unix_ms(), Tokens(2**80, 1), None)
    poisoned.outcome = CallOutcome.COMPLETE
    end(good)
    await book.catch_up()
    assert book.unwritten_count == 0
    with sqlite_store.reading() as session:
        assert session.exec(select(Call.id)).all() == [good.id]
