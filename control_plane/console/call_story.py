"""Why a call went where it did, told to its own tenant. Pure.

The record of a decision names every card. A tenant is told of its own cards by name and in the record's
words; of others' only the pool, and why in words that say nothing about the card itself.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# By the codes of the router's reasons.
_OF_ANOTHERS_CARD = {
    "no_engine": "serves no model",
    "other_model": "serves another model",
    "out_of_reach": "not reachable",
    "not_ready": "its engine is not ready",
    "draining": "takes no new calls for now",
    "context_too_small": "its context is too small for this call",
    "queue_full": "too many calls wait for it",
    "unhealthy": "not well enough for calls of others",
    "pool_paused": "takes no calls of others for now",
    "breaker_open": "failed several times just now, and is left alone for a while",
    "not_text": "takes text only",
    "no_room": "no room",
    "uncountable": "tokens of this call could not be counted independently there",
    "pinned_elsewhere": "these calls are pinned elsewhere",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call may be served, as its tenant may know it."""

    tier: str
    name: str
    # Of an own card: calls on it per call that it can work on at once.
    load: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why `place` was left out, or would not take the call."""

    place: Place
    words: str
    code: str


@dataclass(frozen=True, slots=True)
class Story:
    # In the order in which they were to be tried.
    candidates: list[Place]
    left_out: list[Reason]
    denials: list[Reason]
    # More were looked at than are recorded.
    unlisted: int


def story(decision: Mapping[str, Any], own_agents: Mapping[str, str]) -> Story:
    """`own_agents`: the names of the tenant's agents, by id."""
    return Story(
        candidates=[_place(each, own_agents) for each in decision.get("candidates", [])],
        left_out=_left_out(decision.get("left_out", []), own_agents),
        denials=[
            Reason(Place(each["tier"], _named(each["tier"], each["name"])), each["words"], each["code"])
            for each in decision.get("denials", [])
        ],
        unlisted=int(decision.get("unlisted", 0)),
    )


def place_of_attempt(
    tier: str, agent_id: str | None, pool: str | None, vendor: str | None, own_agents: Mapping[str, str]
) -> Place:
    if agent_id is not None and agent_id in own_agents:
        return Place(tier, own_agents[agent_id])
    if vendor is not None:
        return Place(tier, vendor)
    return Place(tier, f"a card of pool {pool}" if pool else "a card")


def _left_out(listed: Sequence[Mapping[str, Any]], own_agents: Mapping[str, str]) -> list[Reason]:
    """Others' cards of a pool that were left out for the same reason are one line."""
    found: list[Reason] = []
    others: Counter[tuple[str, str, str]] = Counter()
    for each in listed:
        agent_id: str | None = each.get("agent_id")
        pool = each.get("pool", "")
        if agent_id is not None and agent_id not in own_agents:
            others[each["tier"], pool, each["code"]] += 1
        else:
            where = _named(each["tier"], pool) if agent_id is None else own_agents[agent_id]
            # An administrator's pin names by id what it pins to.
            words = _OF_ANOTHERS_CARD[each["code"]] if each["code"] == "pinned_elsewhere" else each["words"]
            found.append(Reason(Place(each["tier"], where), words, each["code"]))
    for (tier, pool, code), count in others.items():
        cards = "a card" if count == 1 else f"{count} cards"
        words = _OF_ANOTHERS_CARD.get(code, code.replace("_", " "))
        found.append(Reason(Place(tier, f"{cards} of pool {pool}"), words, code))
    return found


def _place(candidate: Mapping[str, Any], own_agents: Mapping[str, str]) -> Place:
    tier = candidate["tier"]
    agent_id: str | None = candidate.get("agent_id")
    if "vendor" in candidate:
        return Place(tier, candidate["vendor"])
    if agent_id is not None and agent_id in own_agents:
        return Place(tier, own_agents[agent_id], candidate.get("load"))
    return Place(tier, f"a card of pool {candidate.get('pool', '')}")


def _named(tier: str, name: str) -> str:
    if not name:
        return "the whole tier"
    return f"pool {name}" if tier == "pool" else name
