"""Holds, settlements and the ledger on both kinds of database."""

import pytest
from sqlalchemy import text, update
from sqlmodel import Session, col, select

from control_plane.access import Duplicate, Invalid, Unknown
from control_plane.economy import (
    Credit,
    Held,
    NothingHeld,
    OwnFacts,
    QuotaExceeded,
    Settled,
    SettleFacts,
    Tokens,
    checkpoint,
    credits_of_cards,
    mark_paid,
    reap_holds,
    reverse,
    settle,
    settle_own,
    statements,
    usage,
    verify,
    void,
)
from control_plane.identifiers import AgentId, ApiKeyId, AttemptId, CallId
from control_plane.store import Store
from control_plane.store.economy_tables import ExternalMonth, LedgerEntry, QuotaMonth
from control_plane.store.tables import Call, Receipt
from tests.support.economy import (
    CONSUMER,
    CONSUMERS_AGENT,
    DECEMBER_MS,
    FREE,
    NOVEMBER_MS,
    OPERATORS_CARD,
    PROVIDERS_CARD,
    Dispatch,
    add_attempt,
    add_economy,
    at_vendor,
    in_pool,
)

USED = Tokens(8, 12)
CHARGE = 8 * 150_000 + 12 * 600_001
CREDIT = CHARGE * 7_001 // 10_000


def _settle(store: Store, dispatch: Dispatch, claimed: Tokens | None, counted: Tokens | None) -> Settled:
    facts = SettleFacts(dispatch.call_id, dispatch.attempt_id, claimed, counted, dispatch.now_unix_ms + 1)
    return store.write_now(lambda session: settle(session, facts))


def _month(store: Store) -> tuple[int, int]:
    with store.reading() as session:
        row = session.exec(select(QuotaMonth)).one()
        return row.used_tokens, row.held_tokens


def _entries(store: Store) -> list[tuple[str, str | None, int]]:
    with store.reading() as session:
        rows = session.exec(select(LedgerEntry).order_by(LedgerEntry.transaction_id, col(LedgerEntry.line)))
        return [(row.account, row.tenant_id, row.amount_pico_usd) for row in rows]


def _reap(store: Store, *, orphaned_ms: int = DECEMBER_MS, give_up_ms: int = 0) -> tuple[int, int]:
    reaped = store.write_now(
        lambda session: reap_holds(
            session,
            now_unix_ms=DECEMBER_MS,
            orphaned_before_unix_ms=orphaned_ms,
            give_up_before_unix_ms=give_up_ms,
            limit=100,
        )
    )
    return reaped.settled, reaped.voided


def _receipt(
    dispatch: Dispatch, tokens: Tokens, agent_id: str = PROVIDERS_CARD.agent_id, sequence: int = 1
) -> Receipt:
    return Receipt(
        agent_id=agent_id,
        sequence=sequence,
        call_id=dispatch.call_id,
        attempt_id=dispatch.attempt_id,
        served_name="tiny",
        http_status=200,
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        accepted_unix_ms=1,
        first_byte_unix_ms=1,
        ended_unix_ms=1,
        outcome="complete",
    )


def test_a_settled_call_debits_its_consumer_and_credits_the_cards_owner(economy: Store) -> None:
    dispatch = in_pool(1)
    assert economy.write_now(dispatch) == Held(20, 30)
    assert _month(economy) == (0, 30)
    assert _settle(economy, dispatch, USED, USED) == Settled(
        dispatch.attempt_id, USED, CHARGE, CREDIT, first=True
    )
    assert _month(economy) == (20, 0)
    assert _entries(economy) == [
        ("consumer", CONSUMER, -CHARGE),
        ("platform", None, CHARGE - CREDIT),
        ("held", "ten-provider", CREDIT),
    ]


def test_settling_again_returns_what_was_settled_and_changes_nothing(economy: Store) -> None:
    dispatch = in_pool(1)
    economy.write_now(dispatch)
    first = _settle(economy, dispatch, USED, USED)
    before = _entries(economy)
    again = _settle(economy, dispatch, Tokens(10, 20), Tokens(10, 20))
    assert (again.charge_pico_usd, again.tokens, again.first) == (first.charge_pico_usd, USED, False)
    assert not economy.write_now(lambda session: void(session, dispatch.attempt_id))
    assert (_entries(economy), _month(economy)) == (before, (20, 0))


def test_a_second_attempt_of_a_settled_call_is_not_settled_and_its_hold_is_reaped(economy: Store) -> None:
    first, second = in_pool(1), in_pool(2, of_call=1)
    economy.write_now(first)
    economy.write_now(second)
    _settle(economy, first, USED, USED)
    assert not _settle(economy, second, USED, USED).first
    assert _month(economy) == (20, 30)
    assert _reap(economy) == (0, 1)
    assert _month(economy) == (20, 0)


def test_credit_from_a_free_plan_is_never_payable(economy: Store) -> None:
    dispatch = in_pool(1, plan=FREE)
    economy.write_now(dispatch)
    _settle(economy, dispatch, USED, USED)
    with economy.reading() as session:
        assert credits_of_cards(session) == [Credit("ten-provider", "agt-provider", "2026-11", CREDIT, 0, 0)]
    economy.write_now(
        lambda session: mark_paid(session, CONSUMER, "2026-11", actor="operator", now_unix_ms=DECEMBER_MS)
    )
    with economy.reading() as session:
        assert credits_of_cards(session)[0].payable_pico_usd == 0


def test_an_operators_card_earns_nobody_a_credit_and_its_cache_is_cheaper(economy: Store) -> None:
    dispatch = in_pool(1, card=OPERATORS_CARD)
    economy.write_now(dispatch)
    settled = _settle(economy, dispatch, Tokens(8, 12, cached_prompt=5), None)
    assert settled.charge_pico_usd == 3 * 150_000 + 5 * 50_000 + 12 * 600_001
    assert settled.credit_pico_usd == 0


def test_a_third_party_card_is_paid_the_smaller_count_and_no_cache_price(economy: Store) -> None:
    dispatch = in_pool(1)
    economy.write_now(dispatch)
    settled = _settle(economy, dispatch, Tokens(9, 11, cached_prompt=9), Tokens(8, 12))
    assert settled.tokens == Tokens(8, 11)
    assert settled.charge_pico_usd == 8 * 150_000 + 11 * 600_001


def test_a_third_party_card_is_not_settled_on_its_engines_word(economy: Store) -> None:
    dispatch = in_pool(1)
    economy.write_now(dispatch)
    with pytest.raises(ValueError, match="word alone"):
        _settle(economy, dispatch, USED, None)
    assert _month(economy) == (0, 30)


def test_a_charge_never_exceeds_its_hold(economy: Store) -> None:
    dispatch = in_pool(1)
    economy.write_now(dispatch)
    assert _settle(economy, dispatch, Tokens(25, 900), Tokens(25, 900)).tokens == Tokens(25, 5)
    assert _month(economy) == (30, 0)


def test_a_void_hold_charges_nothing_and_cannot_be_settled(economy: Store) -> None:
    dispatch = in_pool(1)
    economy.write_now(dispatch)
    assert economy.write_now(lambda session: void(session, dispatch.attempt_id))
    assert not economy.write_now(lambda session: void(session, dispatch.attempt_id))
    with pytest.raises(NothingHeld):
        _settle(economy, dispatch, USED, USED)
    assert (_month(economy), _entries(economy)) == ((0, 0), [])


def test_what_the_quota_does_not_cover_is_refused_and_leaves_nothing(economy: Store) -> None:
    assert economy.write_now(in_pool(1, max_tokens=981)) == Held(981, 991)
    assert economy.write_now(in_pool(2)) == QuotaExceeded(9)
    assert economy.write_now(in_pool(3, max_tokens=2_000)) == QuotaExceeded(9)
    with economy.reading() as session:
        assert session.execute(text("SELECT count(*) FROM attempt")).scalar() == 1


def test_a_call_without_max_tokens_is_held_for_what_is_left(economy: Store) -> None:
    economy.write_now(in_pool(1, max_tokens=940))
    assert economy.write_now(in_pool(2, max_tokens=64, choices=2, shrinkable=True)) == Held(20, 50)
    assert economy.write_now(in_pool(3, max_tokens=64, shrinkable=True)) == QuotaExceeded(0)


def test_a_month_begins_with_the_whole_quota_and_is_settled_where_it_was_held(economy: Store) -> None:
    november = in_pool(1, max_tokens=990)
    economy.write_now(november)
    assert economy.write_now(in_pool(2, max_tokens=990, now_unix_ms=DECEMBER_MS)) == Held(990, 1_000)
    facts = SettleFacts(november.call_id, november.attempt_id, USED, USED, DECEMBER_MS)
    economy.write_now(lambda session: settle(session, facts))
    with economy.reading() as session:
        months = {row.month: (row.used_tokens, row.held_tokens) for row in session.exec(select(QuotaMonth))}
        assert [each.month for each in statements(session)] == ["2026-11"]
    assert months == {"2026-11": (20, 0), "2026-12": (0, 1_000)}


def test_the_tenants_own_card_is_no_pool_card_for_it(economy: Store) -> None:
    own = PROVIDERS_CARD.__class__(CONSUMERS_AGENT, CONSUMER, operator_run=False)
    with pytest.raises(ValueError, match="own card"):
        economy.write_now(in_pool(1, card=own))


def test_an_own_card_call_is_recorded_once_at_no_charge(economy: Store) -> None:
    card = PROVIDERS_CARD.__class__(CONSUMERS_AGENT, CONSUMER, operator_run=False)
    facts = OwnFacts(
        CallId("call-1"), AttemptId("att-1"), CONSUMER, ApiKeyId("key-consumer"),
        AgentId("agt-consumer"), "tiny", USED, NOVEMBER_MS,
    )  # fmt: skip

    def unit(session: Session) -> Settled:
        add_attempt(session, "call-1", "att-1", tier="own", card=card)
        return settle_own(session, facts)

    assert economy.write_now(unit).first
    assert not economy.write_now(lambda session: settle_own(session, facts)).first
    assert _entries(economy) == []
    with economy.reading() as session:
        assert [(each.tier, each.calls, each.charge_pico_usd) for each in usage(session)] == [("own", 1, 0)]


def test_the_cap_on_vendors_is_held_in_money(economy: Store) -> None:
    # The hold of one call costs 13,500,020 pico-USD at most; the cap is 40,000,000.
    calls = [at_vendor(number, cap_micro_usd=40) for number in range(4)]
    results = [economy.write_now(call) for call in calls]
    assert [isinstance(result, Held) for result in results] == [True, True, False, False]
    assert _settle(economy, calls[0], USED, None).credit_pico_usd == 0
    with economy.reading() as session:
        row = session.exec(select(ExternalMonth)).one()
    assert (row.used_pico_usd, row.held_pico_usd) == (CHARGE, 13_500_020)


def test_a_vendor_is_closed_where_the_cap_is_zero(economy: Store) -> None:
    assert economy.write_now(at_vendor(1, cap_micro_usd=0)) == QuotaExceeded(0)


def test_a_paid_statement_makes_held_credit_payable_and_a_reversal_takes_it_from_there(
    economy: Store,
) -> None:
    calls = [in_pool(1), in_pool(2)]
    for call in calls:
        economy.write_now(call)
        _settle(economy, call, USED, USED)
    economy.write_now(lambda session: reverse(session, calls[0].call_id, actor="operator"))
    with pytest.raises(Duplicate):
        economy.write_now(lambda session: reverse(session, calls[0].call_id, actor="operator"))
    with pytest.raises(Unknown):
        economy.write_now(lambda session: reverse(session, "call-none", actor="operator"))

    def pay(session: Session) -> int:
        return mark_paid(
            session, CONSUMER, "2026-11", actor="operator", now_unix_ms=DECEMBER_MS
        ).charge_pico_usd

    assert economy.write_now(pay) == CHARGE
    with pytest.raises(Duplicate):
        economy.write_now(pay)
    with economy.reading() as session:
        (credit,) = credits_of_cards(session)
    assert (credit.held_pico_usd, credit.payable_pico_usd) == (0, CREDIT)
    economy.write_now(lambda session: reverse(session, calls[1].call_id, actor="operator"))
    with economy.reading() as session:
        (credit,) = credits_of_cards(session)
    assert (credit.held_pico_usd, credit.payable_pico_usd) == (0, 0)


def test_a_month_that_still_grows_cannot_be_paid(economy: Store) -> None:
    call = in_pool(1)
    economy.write_now(call)
    _settle(economy, call, USED, USED)

    def pay(now_unix_ms: int, month: str = "2026-11") -> None:
        economy.write_now(
            lambda session: mark_paid(session, CONSUMER, month, actor="operator", now_unix_ms=now_unix_ms)
        )

    with pytest.raises(Invalid, match="has not ended"):
        pay(NOVEMBER_MS)
    with pytest.raises(Invalid, match="written like"):
        pay(DECEMBER_MS, "November")
    with pytest.raises(Unknown):
        pay(DECEMBER_MS, "2026-10")
    economy.write_now(in_pool(2))
    with pytest.raises(Duplicate, match="not settled yet"):
        pay(DECEMBER_MS)


@pytest.mark.parametrize(
    ("receipt", "paid"),
    [(Tokens(8, 12), Tokens(8, 5)), (Tokens(8, 3), Tokens(8, 3)), (Tokens(8, 0), Tokens(8, 0))],
)
def test_a_crashed_call_on_a_third_party_card_is_settled_at_the_smaller_of_receipt_and_checkpoint(
    economy: Store, receipt: Tokens, paid: Tokens
) -> None:
    dispatch = in_pool(1)
    economy.write_now(dispatch)
    assert economy.write_now(lambda session: checkpoint(session, dispatch.attempt_id, Tokens(8, 5)))
    economy.write_now(lambda session: checkpoint(session, dispatch.attempt_id, Tokens(8, 2)))
    assert _reap(economy) == (0, 0)
    economy.write_now(lambda session: session.add(_receipt(dispatch, receipt)))
    assert _reap(economy, orphaned_ms=NOVEMBER_MS) == (0, 0)
    assert _reap(economy) == (1, 0)
    assert _month(economy) == (paid.prompt + paid.completion, 0)


def test_a_crashed_call_on_an_operators_card_is_settled_from_its_receipt(economy: Store) -> None:
    dispatch = in_pool(1, card=OPERATORS_CARD)
    economy.write_now(dispatch)
    economy.write_now(lambda session: session.add(_receipt(dispatch, USED, OPERATORS_CARD.agent_id)))
    assert _reap(economy) == (1, 0)
    assert _month(economy) == (20, 0)


def test_a_receipt_of_another_agent_settles_nothing(economy: Store) -> None:
    dispatch = in_pool(1)
    economy.write_now(dispatch)
    economy.write_now(lambda session: checkpoint(session, dispatch.attempt_id, Tokens(8, 5)))
    economy.write_now(lambda session: session.add(_receipt(dispatch, USED, "agt-second")))
    assert _reap(economy) == (0, 0)


def test_of_two_receipts_of_one_attempt_the_first_counts(economy: Store) -> None:
    nothing_first, nothing_second = in_pool(1, card=OPERATORS_CARD), in_pool(2, card=OPERATORS_CARD)
    agent_id, nothing = OPERATORS_CARD.agent_id, Tokens(8, 0)
    for dispatch, first, second in ((nothing_first, nothing, USED), (nothing_second, USED, nothing)):
        economy.write_now(dispatch)
        number = 10 * dispatch.number
        both = [_receipt(dispatch, first, agent_id, number), _receipt(dispatch, second, agent_id, number + 1)]
        economy.write_now(lambda session, both=both: session.add_all(both))  # type: ignore[misc]
    assert _reap(economy) == (1, 1)
    assert _month(economy) == (20, 0)


def test_without_a_receipt_the_last_checkpoint_counts_and_without_one_nothing(economy: Store) -> None:
    seen, unseen = in_pool(1), in_pool(2)
    economy.write_now(seen)
    economy.write_now(unseen)
    economy.write_now(lambda session: checkpoint(session, seen.attempt_id, Tokens(8, 5)))
    assert _reap(economy, give_up_ms=DECEMBER_MS) == (1, 1)
    assert _month(economy) == (13, 0)


@pytest.mark.parametrize(
    ("damage", "invariant"),
    [
        ("UPDATE ledger_entry SET amount_pico_usd = amount_pico_usd + 1 WHERE line = 1", "sum to zero"),
        ("UPDATE quota_month SET held_tokens = 1", "sum of its open holds"),
        ("UPDATE quota_month SET used_tokens = 1", "sum of its usage records"),
        ("UPDATE attempt_terms SET hold_state = 'void'", "settled exactly where"),
        ("UPDATE usage_record SET charge_pico_usd = 1", "one debit of the charge"),
        ("UPDATE usage_record SET tier = 'own'", "own-card calls charge"),
        ("UPDATE ledger_entry SET tenant_id = 'ten-operator' WHERE line = 2", "owner of the card"),
        ("UPDATE ledger_entry SET account = 'payable' WHERE line = 2", "owner of the card"),
        ("UPDATE ledger_transaction SET kind = 'release'", "one settled call has one settlement"),
        ("UPDATE attempt_terms SET share_basis_points = 1", "charge and credit follow"),
        ("UPDATE attempt_terms SET month = '2026-10'", "belongs to a month's row"),
        ("DELETE FROM ledger_entry", "sum to zero"),
    ],
)
def test_verification_names_what_was_tampered_with(store: Store, damage: str, invariant: str) -> None:
    store.write_now(add_economy)
    call = in_pool(1)
    store.write_now(call)
    _settle(store, call, USED, USED)
    with store.reading() as session:
        assert verify(session) == []
    store.write_now(lambda session: session.execute(text(damage)).rowcount)  # type: ignore[attr-defined]
    with store.reading() as session:
        broken = verify(session)
    assert [each for each in broken if invariant in each.invariant and each.evidence]


def test_verification_finds_an_ended_answer_that_was_not_settled(store: Store) -> None:
    store.write_now(add_economy)
    store.write_now(in_pool(1))
    store.write_now(lambda session: session.execute(update(Call).values(outcome="complete")).closed)
    with store.reading() as session:
        assert ["saw the end" in each.invariant for each in verify(session)] == [True]
