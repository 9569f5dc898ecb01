"""Roles: what a tenant is, resolved from facts and never chosen."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    PROVIDER = "provider"
    CONSUMER = "consumer"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """What the store says of a tenant now; liveness of its cards is no part of it."""

    # Agents that are enrolled and not revoked, whether they answer or not.
    enrolled_cards: int = 0
    # Contributions that are not withdrawn, of cards that are not revoked.
    live_contributions: int = 0
    # Subscriptions that have not ended.
    live_subscriptions: int = 0


def resolve_role(facts: RoleFacts) -> Role:
    """The first that fits: provider, owner, consumer, none."""
    if facts.live_contributions:
        return Role.PROVIDER
    if facts.enrolled_cards:
        return Role.OWNER
    if facts.live_subscriptions:
        return Role.CONSUMER
    return Role.NONE
