"""The terms of a call: immutable values that the index hands out and an attempt is frozen under."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from control_plane.economy.money import PICO_PER_MICRO, PriceTerms, Tokens, charge_pico_usd
from control_plane.economy.pins import Pin
from control_plane.economy.ring import NO_CARDS, CardRing, PoolCard
from control_plane.economy.roles import Role, RoleFacts
from control_plane.identifiers import ApiKeyId, AttemptId, CallId, PlanId, PoolId, TenantId
from control_plane.store.economy_tables import Billing, Overage, PoolKind, TrustPolicy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanTerms:
    plan_id: PlanId
    name: str
    monthly_tokens: int
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_calls: int
    default_output_tokens: int
    overage: Overage
    billing: Billing


@dataclass(frozen=True, slots=True)
class PoolOffer:
    """A pool that a tenant may use for one model now: under which plan, on which cards, at which price."""

    pool_id: PoolId
    pool_name: str
    kind: PoolKind
    plan: PlanTerms
    # False: by the pool's default plan.
    subscribed: bool
    # Those that the tenant's trust policy admits. The tenant's own among them are no pool cards for it.
    cards: CardRing
    # Of those, the operator's: all that a coding call may be served by.
    operator_cards: CardRing
    price: PriceTerms
    # Of third-party cards; operator cards earn no credit.
    share_basis_points: int


class NoOffer(StrEnum):
    """Why a pool that a tenant may use does not serve a call."""

    UNPRICED = "unpriced"
    NO_CARDS = "no_cards"
    # There are cards, and the trust policy admits none.
    UNTRUSTED_CARDS = "untrusted_cards"


@dataclass(frozen=True, slots=True)
class LeftOutPool:
    pool_id: PoolId
    pool_name: str
    reason: NoOffer


@dataclass(frozen=True, slots=True)
class Offers:
    """In the order in which to try them: subscribed pools first, then hosted before provider pools."""

    usable: tuple[PoolOffer, ...] = ()
    left_out: tuple[LeftOutPool, ...] = ()
    # The tenant has no right to any pool, and a pool serves the model to those who have.
    not_entitled: bool = False


@dataclass(frozen=True, slots=True)
class PoolRight:
    """The right to use a pool: a subscription, or the pool's default plan."""

    pool_id: PoolId
    plan: PlanTerms
    subscribed: bool


@dataclass(frozen=True, slots=True)
class ExternalPolicy:
    allowed: bool = False
    monthly_cap_micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class TenantEconomy:
    tenant_id: TenantId
    facts: RoleFacts
    role: Role
    is_operator: bool
    trust: TrustPolicy
    external: ExternalPolicy
    rights: tuple[PoolRight, ...]
    pins: tuple[Pin, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolEconomy:
    """Everything about a pool; versions are (start in Unix ms, value), oldest first."""

    pool_id: PoolId
    name: str
    kind: PoolKind
    cards: CardRing = NO_CARDS
    # Those of the operator's among them.
    operator_cards: CardRing = NO_CARDS
    default_plan: PlanTerms | None = None
    prices: Mapping[str, tuple[tuple[int, PriceTerms], ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    shares: tuple[tuple[int, int], ...] = ()

    def price(self, model: str, now_unix_ms: int) -> PriceTerms | None:
        """By served name; None: unpriced, so not routable here."""
        return _current(self.prices.get(model, ()), now_unix_ms)

    def share(self, now_unix_ms: int) -> int:
        """In basis points; 0 where none was set."""
        return _current(self.shares, now_unix_ms) or 0


def _current(versions: tuple[tuple[int, T], ...], now_unix_ms: int) -> T | None:
    for starts_unix_ms, value in reversed(versions):
        if starts_unix_ms <= now_unix_ms:
            return value
    return None


@dataclass(frozen=True, slots=True)
class PoolPlace:
    """Served in a pool: the offer that the router took, and the card that the gateway chose."""

    offer: PoolOffer
    card: PoolCard


@dataclass(frozen=True, slots=True)
class VendorPlace:
    """Served by a commercial vendor."""

    vendor: str
    price: PriceTerms
    policy: ExternalPolicy


@dataclass(frozen=True, slots=True)
class NewTerms:
    """What an attempt is to be made under, before its hold."""

    attempt_id: AttemptId
    call_id: CallId
    tenant_id: TenantId
    api_key_id: ApiKeyId
    # Served name.
    model: str
    place: PoolPlace | VendorPlace
    # Upper bound over all prompts of the call.
    prompt_tokens: int
    # For each choice, n times prompts of them.
    max_tokens: int
    choices: int
    # The client named no max_tokens: less may be held where less is left.
    shrinkable: bool
    now_unix_ms: int

    @property
    def hold_tokens(self) -> int:
        return self.prompt_tokens + self.choices * self.max_tokens

    @property
    def price(self) -> PriceTerms:
        return self.place.offer.price if isinstance(self.place, PoolPlace) else self.place.price

    @property
    def hold_pico_usd(self) -> int:
        """The most that the call can cost."""
        most = Tokens(self.prompt_tokens, self.choices * self.max_tokens)
        return charge_pico_usd(self.price, most, operator_card=False)

    @property
    def cap_pico_usd(self) -> int:
        """The month's cap on vendors."""
        if isinstance(self.place, PoolPlace) or not self.place.policy.allowed:
            return 0
        return self.place.policy.monthly_cap_micro_usd * PICO_PER_MICRO
