"""The ring of a pool's cards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy import CardRing, PoolCard
from control_plane.economy.ring import RING_SIZE
from control_plane.identifiers import AgentId, TenantId

US, THEM = TenantId("ten-us"), TenantId("ten-them")
# Where calls begin, evenly over the whole ring.
BEGINS = range(0, RING_SIZE, RING_SIZE // 2_000)


def card(number: int, tenant_id: TenantId = THEM) -> PoolCard:
    return PoolCard(AgentId(f"agt-{number}"), tenant_id, operator_run=False)


def ring(*numbers: int) -> CardRing:
    return CardRing(tuple(card(number) for number in numbers))


def first(cards: CardRing, begin: int) -> PoolCard:
    return next(cards.walk(begin))


@given(st.sets(st.integers(0, 1_000), max_size=30), st.integers(0, RING_SIZE - 1))
def test_a_walk_visits_every_card_once_wherever_it_begins(numbers: set[int], begin: int) -> None:
    walked = list(ring(*numbers).walk(begin))
    assert len(walked) == len(numbers)
    assert set(walked) == {card(number) for number in numbers}


@given(st.sets(st.integers(0, 1_000), min_size=1, max_size=30), st.integers(0, RING_SIZE - 1))
def test_the_order_of_the_cards_makes_no_difference(numbers: set[int], begin: int) -> None:
    there, back = ring(*sorted(numbers)), ring(*sorted(numbers, reverse=True))
    assert list(there.walk(begin)) == list(back.walk(begin))


@given(
    st.sets(st.integers(0, 1_000), min_size=1, max_size=20),
    st.integers(2_000, 3_000),
    st.integers(0, RING_SIZE - 1),
)
def test_a_card_that_joins_or_leaves_moves_no_call_between_two_others(
    numbers: set[int], joining: int, begin: int
) -> None:
    before, after = first(ring(*numbers), begin), first(ring(*numbers, joining), begin)
    assert after in (before, card(joining))


@pytest.mark.parametrize("cards", [4, 10, 40])
def test_a_card_that_joins_takes_about_its_own_part_of_the_calls(cards: int) -> None:
    before, after = ring(*range(cards)), ring(*range(cards + 1))
    moved = sum(first(before, begin) != first(after, begin) for begin in BEGINS) / len(BEGINS)
    fair = 1 / (cards + 1)
    assert fair / 5 < moved < 2.5 * fair


@pytest.mark.parametrize("name", ["agt-{}", "{}", "agt-01JD{}XYZ"])
def test_no_card_has_far_more_or_less_than_its_part_of_the_calls(name: str) -> None:
    """Also where ids differ in a digit alone."""
    cards = CardRing(tuple(PoolCard(AgentId(name.format(n)), THEM, operator_run=False) for n in range(10)))
    firsts = [first(cards, begin) for begin in BEGINS]
    shares = [firsts.count(each) / len(firsts) for each in cards.cards]
    assert max(shares) < 2.5 / 10
    assert min(shares) > 0.2 / 10


def test_an_empty_ring_has_nothing_to_walk() -> None:
    assert list(CardRing().walk(7)) == []
    assert not CardRing().has_other_than(US)


def test_cards_of_others_are_told_from_ones_own() -> None:
    assert not CardRing((card(1, US),)).has_other_than(US)
    assert CardRing((card(1, US), card(2))).has_other_than(US)
