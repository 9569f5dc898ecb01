"""In which state a kill met each call, by what the store, the cards and the clients know of it afterwards."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from sqlmodel import Session, col, select

from control_plane.store.tables import Attempt, AttemptOutcome, Call, CallOutcome
from tests.support.crash_card import Served
from tests.support.plain_client import Asked


class State(StrEnum):
    """Of a call, in its order."""

    # It has a plan, and the store knows nothing of it.
    PLANNED = "planned"
    # Its attempt, and its hold if it has one, are durable; the card has not seen it.
    HELD = "held, not dispatched"
    # An attempt has failed and was given back; the next is not durable.
    BETWEEN = "between two attempts"
    # The card has it; its client has no content.
    DISPATCHED = "dispatched, no content"
    STREAMING = "streaming"
    # All that the card or the client will give was given; the settlement is not durable.
    DELIVERED = "delivered, not settled"
    # The settlement is durable; its client has not seen the end.
    SETTLED = "settled, end not seen"
    ENDED = "ended"


# What a kill meets often enough only where it is aimed; between two attempts is for a moment alone.
COUNTED = tuple(state for state in State if state is not State.BETWEEN)


def states(
    session: Session, planned: Sequence[str], served: Iterable[Served], asked: Iterable[Asked]
) -> Counter[State]:
    """Of the calls of one life, read before anybody ends what it left."""
    calls = {call.id: call for call in session.exec(select(Call).where(col(Call.id).in_(planned)))}
    last = {
        attempt.call_id: attempt
        for attempt in session.exec(
            select(Attempt).where(col(Attempt.call_id).in_(planned)).order_by(col(Attempt.number))
        )
    }
    at_card = {each.attempt_id: each for each in served}
    clients = {each.call_id: each for each in asked if each.call_id is not None}
    return Counter(
        _state(calls.get(call_id), last.get(call_id), at_card, clients.get(call_id)) for call_id in planned
    )


def _state(
    call: Call | None, attempt: Attempt | None, at_card: Mapping[str, Served], client: Asked | None
) -> State:
    if call is None:
        assert client is None or not client.received, "an answer of a call that is not on record"
        return State.PLANNED
    if call.outcome != CallOutcome.RUNNING:
        return State.ENDED if client is not None and (client.saw_end or client.left) else State.SETTLED
    assert client is None or not client.saw_end, "the end of an answer whose settlement is not durable"
    assert attempt is not None
    if attempt.outcome != AttemptOutcome.RUNNING:
        return State.BETWEEN
    served = at_card.get(attempt.id)
    if served is None:
        return State.HELD
    if client is not None and client.left:
        return State.DELIVERED
    if served.finished and (not served.streamed or (client is not None and client.words == served.words)):
        return State.DELIVERED
    return State.STREAMING if client is not None and client.words else State.DISPATCHED
