"""What pages and API are told of usage is one answer, on both kinds of database."""

from sqlmodel import Session

from control_plane.api import call_figures, not_served
from control_plane.console.usage_queries import ServedHour, served_by_hour
from control_plane.economy import SettleFacts, Span, Tokens, reverse, settle
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import Store
from control_plane.store.tables import Call, CallOutcome
from tests.support.databases import database_url, postgresql_server, store
from tests.support.economy import CONSUMER, NOVEMBER_MS, SECOND_CARD, add_economy, in_pool

__all__ = ["database_url", "postgresql_server", "store"]

_HOUR_MS = 3_600_000
_SPAN = Span(NOVEMBER_MS, NOVEMBER_MS + _HOUR_MS)
# More than the page once stopped at.
_MANY = 5_003


def test_hours_are_of_all_cards_together_and_what_was_reversed_is_taken_off(store: Store) -> None:
    store.write_now(add_economy)
    for dispatch in (in_pool(1), in_pool(2, card=SECOND_CARD), in_pool(3)):
        tokens = Tokens(8, 12)
        facts = SettleFacts(dispatch.call_id, dispatch.attempt_id, tokens, tokens, NOVEMBER_MS)

        def unit(session: Session, dispatch: object = dispatch, facts: SettleFacts = facts) -> None:
            dispatch(session)  # type: ignore[operator]  # bound to this turn of the loop
            settle(session, facts)

        store.write_now(unit)
    store.write_now(lambda session: reverse(session, "call-3", actor="operator"))
    with store.reading() as session:
        (row,) = served_by_hour(session, _SPAN, TenantId("ten-provider"))
        assert served_by_hour(session, _SPAN, CONSUMER) == []
    credit = (8 * 150_000 + 12 * 600_001) * 7_001 // 10_000
    assert row == ServedHour(NOVEMBER_MS // _HOUR_MS * _HOUR_MS, "tiny", 3, 60, 2 * credit)


def test_figures_are_of_every_call_of_the_window_and_of_no_other(store: Store) -> None:
    store.write_now(add_economy)
    store.write_now(lambda session: session.add_all([_call(number) for number in range(_MANY)]))
    with store.reading() as session:
        found = call_figures(session, _SPAN, tenant_id=CONSUMER)
        refused = not_served(session, _SPAN, tenant_id=CONSUMER)
        of_others = call_figures(session, _SPAN, tenant_id="ten-provider")
        later = call_figures(session, Span(NOVEMBER_MS + 1, NOVEMBER_MS + 2), tenant_id=CONSUMER)
    assert (found.calls, found.prompt_tokens, found.p95_ms) == (_MANY, _MANY * 3, 95.0)
    assert [(each.error_code, each.calls) for each in refused] == [("rate_limited", _MANY - 100)]
    assert (of_others.calls, later.calls) == (0, 0)


def _call(number: int) -> Call:
    complete = number < 100
    return Call(
        id=f"call-{number:05}",
        tenant_id=CONSUMER,
        api_key_id="key-consumer",
        purpose="general",
        path="/v1/chat/completions",
        model="tiny",
        streamed=False,
        outcome=CallOutcome.COMPLETE if complete else CallOutcome.REFUSED,
        agent_id=AgentId("agt-provider") if complete else None,
        prompt_tokens=3,
        started_unix_ms=NOVEMBER_MS,
        # 1 to 100 ms.
        duration_ms=number + 1.0 if complete else None,
        error_code=None if complete else "rate_limited",
        decision="{}",
    )
