"""Records of calls, on both kinds of database."""

from typing import Any

import orjson
import pytest
from sqlmodel import select

from control_plane.access import Principal
from control_plane.economy import Tokens
from control_plane.gateway.queries import save_all
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.request import read_request
from control_plane.identifiers import ApiKeyId, AttemptId, CallId
from control_plane.router import OwnCard, Plan
from control_plane.store import Store
from control_plane.store.tables import Attempt, AttemptOutcome, Call, CallOutcome, Purpose
from tests.support.gateway import TENANT, agent_view, fill


@pytest.fixture
def record(store: Store) -> CallRecord:
    agent = agent_view("one")
    fill(store, [agent])
    request = read_request(
        "/v1/chat/completions", orjson.dumps({"model": "a\0b", "messages": [{"role": "user"}]})
    )
    principal = Principal(TENANT, "acme", ApiKeyId("key-general"), Purpose.GENERAL)
    made = CallRecord(CallId("call-1"), principal, Purpose.GENERAL, request, Plan((), ()), 1000)
    made.attempts.append(AttemptRecord(AttemptId("att-1"), 1, OwnCard(agent, "tiny", 0.0), 1000))
    return made


def write(store: Store, record: CallRecord) -> None:
    rows = record.entry()
    store.write_now(lambda session: save_all(session, [rows]))


def stored(store: Store) -> tuple[Any, Any]:
    with store.reading() as session:
        return session.exec(select(Call)).one(), session.exec(select(Attempt)).one()


def end(record: CallRecord, completion: int) -> None:
    record.outcome = CallOutcome.COMPLETE
    record.end_attempt(AttemptOutcome.COMPLETE, 2000, Tokens(3, completion), None)


def test_a_record_is_opened_and_settled_and_then_never_changes(store: Store, record: CallRecord) -> None:
    write(store, record)
    opened = record.entry()
    assert stored(store)[0].outcome == "running"
    end(record, 5)
    write(store, record)
    end(record, 99)
    write(store, record)
    store.write_now(lambda session: save_all(session, [opened]))
    call, attempt = stored(store)
    assert (call.outcome, call.prompt_tokens, call.completion_tokens, call.agent_id) == (
        "complete",
        3,
        5,
        "agt-one",
    )
    assert (attempt.outcome, attempt.completion_tokens, attempt.ended_unix_ms) == ("complete", 5, 2000)
