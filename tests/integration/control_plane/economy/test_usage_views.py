"""What usage and money views say, on both kinds of database."""

from dataclasses import replace

from sqlmodel import Session

from control_plane.economy import (
    Group,
    Held,
    OwnFacts,
    QuotaExceeded,
    QuotaStanding,
    Served,
    SettleFacts,
    Span,
    Tokens,
    quota_standing,
    read_economy,
    reverse,
    savings,
    served,
    settle,
    settle_own,
    spending,
)
from control_plane.economy.months import month_bounds
from control_plane.identifiers import ApiKeyId, AttemptId, CallId
from control_plane.store import Store
from control_plane.store.economy_tables import Pool, PoolKind, Price, Subscription
from control_plane.store.tables import Tenant
from tests.support.economy import (
    CONSUMER,
    CONSUMERS_AGENT,
    INVOICED,
    NOVEMBER_MS,
    OPERATORS_CARD,
    POOL,
    Dispatch,
    add_attempt,
    in_pool,
)

_DAY = 86_400_000
_SPAN = Span(NOVEMBER_MS - 5 * _DAY, NOVEMBER_MS + 5 * _DAY)
_CHARGE = 8 * 150_000 + 12 * 600_001


def _serve(store: Store, dispatch: Dispatch) -> None:
    tokens = Tokens(8, 12)
    facts = SettleFacts(dispatch.call_id, dispatch.attempt_id, tokens, tokens, dispatch.now_unix_ms)

    def unit(session: Session) -> None:
        dispatch(session)
        settle(session, facts)

    store.write_now(unit)


def _serve_own(session: Session, number: int, now_unix_ms: int, model: str = "tiny") -> None:
    call, attempt = CallId(f"own-{number}"), AttemptId(f"own-att-{number}")
    add_attempt(session, call, attempt, tier="own", card=None, now_unix_ms=now_unix_ms)
    settle_own(
        session,
        OwnFacts(
            call, attempt, CONSUMER, ApiKeyId("key-consumer"), CONSUMERS_AGENT, model, Tokens(10, 20, 4),
            now_unix_ms,
        ),
    )  # fmt: skip


def test_spend_is_summed_by_the_day_on_which_a_call_came_in_and_reversals_are_told(economy: Store) -> None:
    _serve(economy, in_pool(1))
    _serve(economy, in_pool(2, now_unix_ms=NOVEMBER_MS + _DAY))
    economy.write_now(lambda session: reverse(session, "call-2", actor="operator"))
    with economy.reading() as session:
        rows = spending(session, _SPAN, {Group.DAY, Group.KEY}, tenant_id=CONSUMER)
        before = spending(session, Span(0, NOVEMBER_MS), {Group.DAY})
    assert [
        (each.day, each.key_name, each.calls, each.charge_pico_usd, each.reversed_pico_usd) for each in rows
    ] == [
        ("2026-11-10", "k", 1, _CHARGE, 0),
        ("2026-11-11", "k", 1, _CHARGE, _CHARGE),
    ]
    assert {each.model for each in rows} == {None}
    assert before == []


def test_savings_are_at_the_price_of_the_moment_and_not_priced_where_there_was_none(economy: Store) -> None:
    def unit(session: Session) -> None:
        session.add(Pool(id="hosted", name="hosted", kind=PoolKind.HOSTED, created_unix_ms=1))
        session.flush()
        for starts, amount in ((NOVEMBER_MS, 1_000), (NOVEMBER_MS + _DAY, 3_000)):
            session.add(
                Price(
                    pool_id="hosted",
                    model="tiny",
                    starts_unix_ms=starts,
                    input_micro_usd_per_mtok=amount,
                    output_micro_usd_per_mtok=2 * amount,
                    cached_input_micro_usd_per_mtok=amount // 10,
                )
            )
        session.flush()
        for number, moment in enumerate((NOVEMBER_MS - 1, NOVEMBER_MS, NOVEMBER_MS + _DAY)):
            _serve_own(session, number, moment)
        _serve_own(session, 9, NOVEMBER_MS, model="other")

    economy.write_now(unit)
    with economy.reading() as session:
        other, tiny = savings(session, _SPAN, tenant_id=CONSUMER)
        assert savings(session, _SPAN, tenant_id="ten-provider") == []
    # 6 prompt tokens at the input price, 4 at the cached one, 20 completion tokens.
    assert tiny.hosted_pico_usd == (6 * 1_000 + 4 * 100 + 20 * 2_000) + (6 * 3_000 + 4 * 300 + 20 * 6_000)
    assert (tiny.calls, tiny.unpriced_calls, tiny.pool_name) == (3, 1, "hosted")
    assert (other.model, other.calls, other.unpriced_calls, other.hosted_pico_usd) == ("other", 1, 1, None)


def test_a_provider_sees_what_its_cards_served_by_the_hour_and_not_for_whom(economy: Store) -> None:
    for number in (1, 2):
        _serve(economy, in_pool(number))
    _serve(economy, in_pool(3, card=OPERATORS_CARD))
    with economy.reading() as session:
        (row,) = served(session, _SPAN, tenant_id="ten-provider")
        assert served(session, _SPAN, tenant_id=CONSUMER) == []
    hour = NOVEMBER_MS // 3_600_000 * 3_600_000
    credit = 2 * (_CHARGE * 7_001 // 10_000)
    assert row == Served("ten-provider", "agt-provider", hour, "tiny", 2, 16, 24, credit, 0)
    assert CONSUMER not in repr(row)


def _standing(session: Session, tenant: Tenant, now_unix_ms: int = NOVEMBER_MS) -> list[QuotaStanding]:
    return quota_standing(session, tenant, read_economy(session), now_unix_ms=now_unix_ms)


def test_a_quota_is_told_with_its_reset_and_projected_from_the_day_the_right_began(economy: Store) -> None:
    _serve(economy, in_pool(1))

    def unit(session: Session) -> Tenant:
        session.add(
            Subscription(
                id="sub", tenant_id=CONSUMER, pool_id=POOL, plan_id="plan-invoiced",
                created_unix_ms=NOVEMBER_MS - 2 * _DAY,
            )
        )  # fmt: skip
        session.flush()
        return session.get_one(Tenant, CONSUMER)

    economy.write_now(unit)
    ends = month_bounds("2026-11")[1]
    with economy.reading() as session:
        tenant = session.get_one(Tenant, CONSUMER)
        (row,) = _standing(session, tenant)
        (early,) = _standing(session, tenant, NOVEMBER_MS - 2 * _DAY + 1)
        assert _standing(session, session.get_one(Tenant, "ten-provider")) == []
    assert (row.quota_tokens, row.used_tokens, row.left_tokens, row.resets_unix_ms) == (1_000, 20, 980, ends)
    assert row.projected_tokens == 20 + 20 * (ends - NOVEMBER_MS) // (2 * _DAY)
    assert (early.projected_tokens, early.runs_out_unix_ms) == (None, None)


def test_who_has_no_subscription_is_told_the_default_plan(economy: Store) -> None:
    def unit(session: Session) -> None:
        session.add(
            Pool(
                id="hosted",
                name="hosted",
                kind=PoolKind.HOSTED,
                default_plan_id="plan-free",
                created_unix_ms=1,
            )
        )

    economy.write_now(unit)
    with economy.reading() as session:
        (row,) = _standing(session, session.get_one(Tenant, CONSUMER))
    assert (row.pool_name, row.plan_name, row.quota_tokens, row.left_tokens) == (
        "hosted",
        "free",
        1_000,
        1_000,
    )
    assert not row.subscribed


def test_after_a_smaller_plan_what_is_left_is_what_a_hold_is_judged_by(economy: Store) -> None:
    _serve(economy, in_pool(1, plan=replace(INVOICED, monthly_tokens=5_000)))

    def unit(session: Session) -> None:
        session.add(
            Subscription(
                id="sub", tenant_id=CONSUMER, pool_id=POOL, plan_id="plan-invoiced", created_unix_ms=1
            )
        )

    economy.write_now(unit)
    with economy.reading() as session:
        (row,) = _standing(session, session.get_one(Tenant, CONSUMER))
    assert (row.granted_tokens, row.quota_tokens, row.left_tokens) == (5_000, 1_000, 980)
    refused = economy.write_now(in_pool(2, prompt_tokens=1, max_tokens=row.left_tokens))
    assert refused == QuotaExceeded(row.left_tokens)
    assert isinstance(economy.write_now(in_pool(3, prompt_tokens=1, max_tokens=row.left_tokens - 1)), Held)
