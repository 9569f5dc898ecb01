"""Money: exact integer arithmetic from tokens and prices to charge, credit and remainder.

A price is in micro-USD per million tokens, so that tokens times price is pico-USD (10^-12 USD) without a
division. A share is in basis points (1/10,000).
"""

from dataclasses import dataclass

WHOLE_BASIS_POINTS = 10_000
PICO_PER_MICRO = 1_000_000
# 1,000 USD per million tokens; with MOST_HOLD_TOKENS a charge fits in 63 bits.
MOST_PRICE_MICRO_USD_PER_MTOK = 1_000_000_000
MOST_HOLD_TOKENS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """Micro-USD per million tokens; zero is a decision, an absent price is no PriceTerms."""

    input_micro_usd_per_mtok: int
    output_micro_usd_per_mtok: int
    # Applies on operator cards only: a third-party engine's word on its cache is not charged by.
    cached_input_micro_usd_per_mtok: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """`cached_prompt` of the prompt's tokens came from the engine's prefix cache."""

    prompt: int = 0
    completion: int = 0
    cached_prompt: int = 0


def charge_pico_usd(price: PriceTerms, tokens: Tokens, *, operator_card: bool) -> int:
    cached = min(tokens.cached_prompt, tokens.prompt) if operator_card else 0
    return (
        (tokens.prompt - cached) * price.input_micro_usd_per_mtok
        + cached * price.cached_input_micro_usd_per_mtok
        + tokens.completion * price.output_micro_usd_per_mtok
    )


def credit_pico_usd(charge: int, share_basis_points: int) -> int:
    """The provider's part, rounded down; the platform takes the remainder."""
    return charge * share_basis_points // WHOLE_BASIS_POINTS


def payable_tokens(claimed: Tokens | None, counted: Tokens | None, *, operator_card: bool) -> Tokens:
    """What is charged: the engine's claim on operator cards, at most the own count on others.

    An engine that claims nothing is metered by the own count. Raises ValueError where there is neither, or
    where a third-party card's tokens were not counted.
    """
    if counted is None:
        if claimed is None or not operator_card:
            raise ValueError("a call cannot be settled on its engine's word alone, or on nothing")
        return claimed
    if claimed is None:
        return counted
    if operator_card:
        return claimed
    return Tokens(min(claimed.prompt, counted.prompt), min(claimed.completion, counted.completion))


def within_hold(tokens: Tokens, hold_tokens: int) -> Tokens:
    """No more than was held: the completion is cut first, then the prompt. Never less than nothing."""
    prompt = max(0, min(tokens.prompt, hold_tokens))
    completion = max(0, min(tokens.completion, hold_tokens - prompt))
    return Tokens(prompt, completion, max(0, min(tokens.cached_prompt, prompt)))
