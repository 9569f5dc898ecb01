"""A provider that claims too much is flagged, and its held credit waits until the operator clears it."""

import json

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select, update

from control_plane.access import Unknown
from control_plane.economy import (
    Credit,
    PoolCard,
    SettleFacts,
    Tokens,
    clear_flag,
    credits_of_cards,
    find_drift,
    judge_providers,
    list_flags,
    mark_paid,
    reverse,
    settle,
    verify,
)
from control_plane.identifiers import CallId
from control_plane.store import Store
from control_plane.store.economy_tables import Contribution, Measure, ProviderFlag
from control_plane.store.tables import Agent, Audit, Call, Change, ChangeKind
from tests.support.economy import (
    CONSUMER,
    DECEMBER_MS,
    FREE,
    NOVEMBER_MS,
    OPERATORS_CARD,
    POOL,
    PROVIDERS_CARD,
    SECOND_CARD,
    in_pool,
)

CALLS = 25
# What a call uses by the own count, and what an inflating engine claims.
COUNTED = Tokens(10, 20)
INFLATED = Tokens(10, 24)


@pytest.fixture
def lent(economy: Store) -> Store:
    """All cards are lent to the pool."""

    def lend(session: Session) -> None:
        for card in (PROVIDERS_CARD, SECOND_CARD, OPERATORS_CARD):
            session.add(
                Contribution(
                    id=f"con-{card.agent_id}",
                    pool_id=POOL,
                    agent_id=card.agent_id,
                    tenant_id=card.tenant_id,
                    created_unix_ms=1,
                )
            )

    economy.write_now(lend)
    return economy


class Provider:
    """A card's calls in the store, each with the next number."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = 0

    def serve(
        self,
        card: PoolCard,
        claimed: Tokens | None,
        *,
        calls: int = CALLS,
        outcome: str = "complete",
        now_ms: int = NOVEMBER_MS,
    ) -> list[CallId]:
        def unit(session: Session) -> list[CallId]:
            return [self._serve_one(session, card, claimed, outcome, now_ms) for _ in range(calls)]

        return self.store.write_now(unit)

    def _serve_one(
        self, session: Session, card: PoolCard, claimed: Tokens | None, outcome: str, now_ms: int
    ) -> CallId:
        self.number += 1
        # Small enough for a month's quota of 1,000.
        dispatch = in_pool(self.number, card=card, prompt_tokens=10, max_tokens=24, now_unix_ms=now_ms)
        dispatch(session)
        ended = now_ms + self.number
        settle(session, SettleFacts(dispatch.call_id, dispatch.attempt_id, claimed, COUNTED, ended))
        session.exec(update(Call).where(col(Call.id) == dispatch.call_id).values(outcome=outcome))
        return dispatch.call_id


@pytest.fixture
def provider(lent: Store) -> Provider:
    return Provider(lent)


def _judge(store: Store, now_ms: int = NOVEMBER_MS + 1_000) -> list[str]:
    return store.write_now(lambda session: judge_providers(session, now_ms))


def _pay(store: Store) -> None:
    store.write_now(
        lambda session: mark_paid(session, CONSUMER, "2026-11", actor="operator", now_unix_ms=DECEMBER_MS)
    )


def _clear(store: Store, agent_id: str = PROVIDERS_CARD.agent_id, now_ms: int = DECEMBER_MS) -> ProviderFlag:
    return store.write_now(
        lambda session: clear_flag(
            session, session.get_one(Agent, agent_id), actor="operator", now_unix_ms=now_ms
        )
    )


def _credits(store: Store) -> dict[str, tuple[int, int]]:
    """Held and payable, by card."""
    with store.reading() as session:
        assert verify(session) == []
        found: list[Credit] = credits_of_cards(session)
    return {each.agent_id: (each.held_pico_usd, each.payable_pico_usd) for each in found}


def test_an_inflating_card_is_flagged_with_its_numbers_and_others_are_not(
    lent: Store, provider: Provider
) -> None:
    provider.serve(PROVIDERS_CARD, INFLATED)
    provider.serve(SECOND_CARD, COUNTED, calls=2)
    with lent.reading() as session:
        assert set(find_drift(session)) == {PROVIDERS_CARD.agent_id}
    assert _judge(lent) == [PROVIDERS_CARD.agent_id]
    assert _judge(lent) == []
    with lent.reading() as session:
        ((flag, name),) = list_flags(session)
        assert (flag.agent_id, flag.tenant_id, name) == ("agt-provider", "ten-provider", "agt-provider")
        assert (flag.measure, flag.calls, flag.cleared_unix_ms) == (Measure.COMPLETION, CALLS, None)
        assert (flag.claimed_tokens, flag.counted_tokens) == (24 * CALLS, 20 * CALLS)
        (entry,) = session.exec(select(Audit).where(Audit.action == "provider.flagged"))
        assert (entry.actor, entry.subject, entry.tenant_id) == (
            "drift judge", "agt-provider", "ten-provider",
        )  # fmt: skip
        assert json.loads(entry.detail)["claimed_tokens"] == 24 * CALLS
        changes = select(Change).where(Change.kind == ChangeKind.ECONOMY, Change.subject == "agt-provider")
        assert session.exec(changes).first() is not None


def test_inflation_earns_nothing_more(lent: Store, provider: Provider) -> None:
    provider.serve(PROVIDERS_CARD, INFLATED, calls=5)
    provider.serve(SECOND_CARD, COUNTED, calls=5)
    earned = _credits(lent)
    assert earned[PROVIDERS_CARD.agent_id] == earned[SECOND_CARD.agent_id]


def test_prompts_are_judged_as_answers_are(lent: Store, provider: Provider) -> None:
    provider.serve(PROVIDERS_CARD, Tokens(12, 20))
    assert _judge(lent) == [PROVIDERS_CARD.agent_id]
    with lent.reading() as session:
        assert list_flags(session)[0][0].measure == Measure.PROMPT


@pytest.mark.parametrize(
    ("card", "claimed", "outcome"),
    [
        (PROVIDERS_CARD, COUNTED, "complete"),
        # An engine that omits usage is metered by the own count.
        (PROVIDERS_CARD, None, "complete"),
        # Cut short or settled after a crash: claim and count are of different parts.
        (PROVIDERS_CARD, INFLATED, "client_gone"),
        (PROVIDERS_CARD, INFLATED, "failed"),
        (OPERATORS_CARD, INFLATED, "complete"),
    ],
)
def test_nothing_is_held_against(
    lent: Store, provider: Provider, card: PoolCard, claimed: Tokens | None, outcome: str
) -> None:
    provider.serve(card, claimed, outcome=outcome)
    assert _judge(lent) == []


def test_a_flagged_cards_credit_is_held_until_the_flag_is_cleared(lent: Store, provider: Provider) -> None:
    provider.serve(PROVIDERS_CARD, INFLATED)
    provider.serve(SECOND_CARD, COUNTED, calls=3)
    _judge(lent)
    before = _credits(lent)
    _pay(lent)
    after = _credits(lent)
    assert after[PROVIDERS_CARD.agent_id] == before[PROVIDERS_CARD.agent_id]
    assert after[SECOND_CARD.agent_id] == (0, before[SECOND_CARD.agent_id][0])
    flag = _clear(lent)
    assert flag.cleared_unix_ms == DECEMBER_MS
    assert _credits(lent)[PROVIDERS_CARD.agent_id] == (0, before[PROVIDERS_CARD.agent_id][0])
    with lent.reading() as session:
        assert list_flags(session) == []
        assert [each.agent_id for each, _ in list_flags(session, cleared=True)] == ["agt-provider"]
        (entry,) = session.exec(select(Audit).where(Audit.action == "provider.cleared"))
        assert entry.actor == "operator"
        assert json.loads(entry.detail) == {"released_pico_usd": before[PROVIDERS_CARD.agent_id][0]}


def test_clearing_before_the_statement_is_paid_releases_nothing_yet(lent: Store, provider: Provider) -> None:
    provider.serve(PROVIDERS_CARD, INFLATED)
    _judge(lent)
    before = _credits(lent)
    _clear(lent)
    assert _credits(lent) == before
    _pay(lent)
    assert _credits(lent)[PROVIDERS_CARD.agent_id] == (0, before[PROVIDERS_CARD.agent_id][0])


def test_a_call_is_taken_back_from_where_its_credit_is(lent: Store, provider: Provider) -> None:
    first, second, *_ = provider.serve(PROVIDERS_CARD, INFLATED)
    _judge(lent)
    _pay(lent)
    held, _ = _credits(lent)[PROVIDERS_CARD.agent_id]
    one = held // CALLS
    lent.write_now(lambda session: reverse(session, first, actor="operator"))
    assert _credits(lent)[PROVIDERS_CARD.agent_id] == (held - one, 0)
    _clear(lent)
    lent.write_now(lambda session: reverse(session, second, actor="operator"))
    assert _credits(lent)[PROVIDERS_CARD.agent_id] == (0, held - 2 * one)


def test_what_was_cleared_is_not_held_against_it_again_and_what_comes_after_is(
    lent: Store, provider: Provider
) -> None:
    provider.serve(PROVIDERS_CARD, INFLATED)
    _judge(lent)
    _clear(lent, now_ms=NOVEMBER_MS + 2_000)
    assert _judge(lent, NOVEMBER_MS + 3_000) == []
    provider.serve(PROVIDERS_CARD, INFLATED, now_ms=DECEMBER_MS)
    assert _judge(lent, DECEMBER_MS + 1_000) == [PROVIDERS_CARD.agent_id]


def test_a_card_that_is_not_flagged_cannot_be_cleared(lent: Store) -> None:
    with pytest.raises(Unknown, match="no flag of agent 'agt-provider'"):
        _clear(lent)


def test_credit_kept_back_without_a_flag_is_found_by_verification(lent: Store, provider: Provider) -> None:
    provider.serve(PROVIDERS_CARD, INFLATED)
    _judge(lent)
    _pay(lent)

    def unflag(session: Session, cleared: str) -> None:
        session.connection().execute(text(f"UPDATE provider_flag SET cleared_unix_ms = {cleared}"))

    lent.write_now(lambda session: unflag(session, "5"))
    with lent.reading() as session:
        (broken,) = verify(session)
    assert broken.invariant.startswith("a paid statement holds back only flagged cards' credit")
    assert "agent_id=agt-provider" in broken.evidence[0]
    lent.write_now(lambda session: unflag(session, "NULL"))


def test_credit_taken_back_from_where_it_is_not_is_found_by_verification(
    lent: Store, provider: Provider
) -> None:
    (call, *_) = provider.serve(PROVIDERS_CARD, COUNTED, calls=2)
    _pay(lent)
    lent.write_now(lambda session: reverse(session, call, actor="operator"))

    def move(session: Session, source: str, target: str) -> None:
        taken = f"account = '{source}' AND amount_pico_usd < 0 AND transaction_id IN"
        reversals = "(SELECT id FROM ledger_transaction WHERE kind = 'reversal')"
        session.connection().execute(
            text(f"UPDATE ledger_entry SET account = '{target}' WHERE {taken} {reversals}")
        )

    lent.write_now(lambda session: move(session, "payable", "held"))
    with lent.reading() as session:
        broken = {each.invariant for each in verify(session)}
    assert "no card's held credit is below zero in any statement" in broken
    lent.write_now(lambda session: move(session, "held", "payable"))


def test_credit_from_free_use_is_no_matter_of_flags(lent: Store) -> None:
    dispatch = in_pool(1, plan=FREE)
    facts = SettleFacts(dispatch.call_id, dispatch.attempt_id, INFLATED, COUNTED, NOVEMBER_MS)
    lent.write_now(lambda session: (dispatch(session), settle(session, facts)))
    assert _credits(lent)[PROVIDERS_CARD.agent_id] == (0, 0)
