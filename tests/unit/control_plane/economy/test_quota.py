"""Sharing out what is left of a month."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy import Held, QuotaExceeded
from control_plane.economy.quota import share_out
from tests.support.economy import at_vendor, in_pool

_CALLS = st.lists(
    st.builds(
        lambda number, prompt, output, choices, shrinkable: in_pool(
            number, prompt_tokens=prompt, max_tokens=output, choices=choices, shrinkable=shrinkable
        ).terms,
        st.integers(1, 99), st.integers(0, 300), st.integers(1, 300), st.integers(1, 3), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


def test_a_refused_call_leaves_room_for_a_smaller_one_behind_it() -> None:
    wanted = [in_pool(number, max_tokens=output).terms for number, output in enumerate([500, 600, 480])]
    assert share_out(0, wanted) == [Held(500, 510), QuotaExceeded(490), Held(480, 490)]


def test_where_more_is_taken_than_a_smaller_plan_grants_nothing_is_left() -> None:
    assert share_out(1_200, [in_pool(1, prompt_tokens=0, max_tokens=0).terms]) == [QuotaExceeded(0)]


def test_money_at_a_vendor_is_held_whole_or_not_at_all() -> None:
    terms = at_vendor(1, cap_micro_usd=20, shrinkable=True).terms
    assert share_out(0, [terms, terms]) == [Held(20, 30), QuotaExceeded(20_000_000 - terms.hold_pico_usd)]


@given(taken=st.integers(0, 1_200), wanted=_CALLS)
def test_no_more_is_held_than_there_is_and_nobody_is_refused_who_fits(taken: int, wanted: list) -> None:  # type: ignore[type-arg]
    left = 1_000 - taken
    for terms, result in zip(wanted, share_out(taken, wanted), strict=True):
        fewest = terms.prompt_tokens + terms.choices * (1 if terms.shrinkable else terms.max_tokens)
        if isinstance(result, QuotaExceeded):
            assert fewest > left
            assert result.remaining == max(0, left)
            continue
        assert result.hold_tokens == terms.prompt_tokens + terms.choices * result.max_tokens
        assert result.max_tokens == terms.max_tokens or terms.shrinkable
        # What was shrunk takes all that its choices can share.
        assert result.max_tokens == terms.max_tokens or left - result.hold_tokens < terms.choices
        left -= result.hold_tokens
        assert left >= 0
