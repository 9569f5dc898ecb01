"""Money is exact, nobody earns more than was charged, and no claim is paid beyond the own count."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy.money import (
    MOST_HOLD_TOKENS,
    MOST_PRICE_MICRO_USD_PER_MTOK,
    PriceTerms,
    Tokens,
    charge_pico_usd,
    credit_pico_usd,
    payable_tokens,
    within_hold,
)

_AMOUNT = st.integers(0, MOST_PRICE_MICRO_USD_PER_MTOK)
_PRICES = st.builds(PriceTerms, _AMOUNT, _AMOUNT, _AMOUNT)
_COUNT = st.integers(0, MOST_HOLD_TOKENS)
_TOKENS = st.builds(Tokens, _COUNT, _COUNT, _COUNT)


@given(_PRICES, _TOKENS)
def test_a_charge_is_exactly_tokens_times_price_in_dollars(price: PriceTerms, tokens: Tokens) -> None:
    dollars = Fraction(tokens.prompt * price.input_micro_usd_per_mtok, 10**12) + Fraction(
        tokens.completion * price.output_micro_usd_per_mtok, 10**12
    )
    assert Fraction(charge_pico_usd(price, tokens, operator_card=False), 10**12) == dollars


@given(_PRICES, _TOKENS, st.integers(0, MOST_HOLD_TOKENS))
def test_the_charge_of_what_is_held_fits_the_database(price: PriceTerms, tokens: Tokens, hold: int) -> None:
    assert charge_pico_usd(price, within_hold(tokens, hold), operator_card=True) < 2**63


def test_cached_input_is_cheaper_on_operator_cards_only() -> None:
    price, tokens = PriceTerms(10, 100, 1), Tokens(prompt=5, completion=2, cached_prompt=4)
    assert charge_pico_usd(price, tokens, operator_card=True) == 10 + 4 + 200
    assert charge_pico_usd(price, tokens, operator_card=False) == 50 + 200


@given(st.integers(0, 2**62), st.integers(0, 10_000))
def test_a_credit_is_the_share_rounded_down(charge: int, share: int) -> None:
    credit = credit_pico_usd(charge, share)
    assert 0 <= Fraction(charge * share, 10_000) - credit < 1
    assert 0 <= credit <= charge


@given(_TOKENS, st.integers(0, 2 * MOST_HOLD_TOKENS))
def test_what_is_charged_never_exceeds_the_hold(tokens: Tokens, hold: int) -> None:
    kept = within_hold(tokens, hold)
    assert kept.prompt + kept.completion == min(hold, tokens.prompt + tokens.completion)
    assert kept.prompt <= tokens.prompt
    assert kept.cached_prompt <= kept.prompt


@given(_TOKENS, _TOKENS)
def test_a_third_party_engines_claim_pays_at_most_the_own_count(claimed: Tokens, counted: Tokens) -> None:
    payable = payable_tokens(claimed, counted, operator_card=False)
    assert payable.prompt == min(claimed.prompt, counted.prompt)
    assert payable.completion == min(claimed.completion, counted.completion)


def test_an_engine_that_claims_nothing_is_metered_by_the_own_count() -> None:
    for operator_card in (True, False):
        assert payable_tokens(None, Tokens(1, 2), operator_card=operator_card) == Tokens(1, 2)
    assert payable_tokens(Tokens(3, 4), Tokens(1, 2), operator_card=True) == Tokens(3, 4)
    assert payable_tokens(Tokens(3, 4), None, operator_card=True) == Tokens(3, 4)


@pytest.mark.parametrize(("claimed", "operator_card"), [(Tokens(1, 1), False), (None, False), (None, True)])
def test_a_word_that_is_not_trusted_settles_nothing(claimed: Tokens | None, operator_card: bool) -> None:
    with pytest.raises(ValueError, match="word alone"):
        payable_tokens(claimed, None, operator_card=operator_card)
