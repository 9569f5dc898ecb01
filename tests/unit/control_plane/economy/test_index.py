"""What the index answers: which pools, on which cards, at which price."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session

from control_plane.economy import (
    EconomyIndex,
    LeftOutPool,
    NoOffer,
    PolicyChange,
    PriceTerms,
    Role,
    change_policy,
    contribute,
    create_pool,
    find_pool,
    set_price,
    set_share,
    start_subscription,
    withdraw,
)
from control_plane.identifiers import TenantId
from control_plane.store import Store
from control_plane.store.economy_tables import Plan, PoolKind, TrustPolicy
from control_plane.store.tables import Agent, Tenant
from tests.support.economy import CONSUMER, PRICE, add_economy

NOW_MS = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")
    store.migrate()
    store.write_now(add_economy)
    yield store
    store.close()


def _open_shop(session: Session) -> None:
    """A hosted pool with a default plan, and a provider pool that the consumer subscribes to."""
    hosted = create_pool(session, name="hosted", kind=PoolKind.HOSTED, default_plan="free", actor="operator")
    session.flush()
    shared = find_pool(session, "shared")
    for name, pool in (("agt-operator", hosted), ("agt-provider", shared)):
        agent = session.get_one(Agent, name)
        contribute(session, agent=agent, pool=pool, actor="operator")
        set_price(session, pool=pool, model="tiny", price=PRICE, starts_unix_ms=NOW_MS, actor="operator")
    set_share(session, pool=shared, share_basis_points=7_000, starts_unix_ms=0, actor="operator")
    consumer, plan = session.get_one(Tenant, CONSUMER), session.get_one(Plan, "plan-invoiced")
    start_subscription(session, tenant=consumer, pool=shared, plan=plan, actor="operator")


async def _index(store: Store) -> EconomyIndex:
    index = EconomyIndex(store)
    await index.refresh()
    return index


async def test_third_party_cards_are_offered_only_to_who_trusts_them(store: Store) -> None:
    store.write_now(_open_shop)
    index = await _index(store)
    found = index.offers(CONSUMER, "tiny", NOW_MS)
    assert [(offer.pool_name, offer.subscribed) for offer in found.usable] == [("hosted", False)]
    assert [left.reason for left in found.left_out] == ["untrusted_cards"]
    trusting = PolicyChange(trust=TrustPolicy.ANY_POOL_CARD)
    store.write_now(
        lambda session: change_policy(
            session, tenant=session.get_one(Tenant, CONSUMER), change=trusting, actor="operator"
        )
    )
    await index.refresh()
    found = index.offers(CONSUMER, "tiny", NOW_MS)
    assert [(offer.pool_name, offer.share_basis_points) for offer in found.usable] == [
        ("shared", 7_000),
        ("hosted", 0),
    ]


async def test_a_model_without_a_price_is_left_out_and_says_so(store: Store) -> None:
    store.write_now(_open_shop)
    index = await _index(store)
    assert {left.reason for left in index.offers(CONSUMER, "other", NOW_MS).left_out} == {"unpriced"}
    assert {left.reason for left in index.offers(CONSUMER, "tiny", NOW_MS - 1).left_out} == {"unpriced"}


async def test_the_version_that_has_started_last_is_the_price(store: Store) -> None:
    store.write_now(_open_shop)
    later = PriceTerms(1, 2, 0)
    store.write_now(
        lambda session: set_price(
            session, pool=find_pool(session, "hosted"), model="tiny", price=later,
            starts_unix_ms=NOW_MS + 10, actor="operator",
        )
    )  # fmt: skip
    index = await _index(store)
    prices = [index.offers(CONSUMER, "tiny", at).usable[0].price for at in (NOW_MS, NOW_MS + 9, NOW_MS + 10)]
    assert prices == [PRICE, PRICE, later]


async def test_nobody_is_offered_its_own_card_and_a_withdrawn_or_revoked_one_is_gone(store: Store) -> None:
    store.write_now(_open_shop)
    index = await _index(store)
    assert index.tenant(TenantId("ten-provider")).role is Role.PROVIDER
    store.write_now(
        lambda session: withdraw(session, agent=session.get_one(Agent, "agt-provider"), actor="operator")
    )

    def revoke(session: Session) -> None:
        session.get_one(Agent, "agt-operator").revoked_unix_ms = 1

    store.write_now(revoke)
    await index.refresh()
    assert index.tenant(TenantId("ten-provider")).role is Role.OWNER
    assert {left.reason for left in index.offers(CONSUMER, "tiny", NOW_MS).left_out} == {"no_cards"}


async def test_the_operator_is_offered_no_card_of_its_own(store: Store) -> None:
    store.write_now(_open_shop)
    index = await _index(store)
    (left,) = index.offers(TenantId("ten-operator"), "tiny", NOW_MS).left_out
    assert left == LeftOutPool(left.pool_id, "hosted", NoOffer.NO_CARDS)


async def test_a_tenant_that_is_not_known_yet_has_the_default_plan(store: Store) -> None:
    store.write_now(_open_shop)
    index = await _index(store)
    stranger = index.tenant(TenantId("ten-new"))
    assert (stranger.role, stranger.trust) == (Role.NONE, TrustPolicy.OPERATOR_CARDS)
    assert [offer.plan.name for offer in index.offers(TenantId("ten-new"), "tiny", NOW_MS).usable] == ["free"]
