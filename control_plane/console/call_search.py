"""What of the calls is asked for, read from a page's address. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from control_plane.access import Invalid
from control_plane.api import CallSearch
from control_plane.economy import span_of_days
from control_plane.identifiers import TenantId
from control_plane.store.tables import CallOutcome, Tier

# In the order of the form. `before` is where a page of the list goes on, and no part of the search.
FIELDS = ("id", "model", "tier", "key", "outcome", "status", "since", "until")
MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the form's fields say; empty: anything."""

    fields: Mapping[str, str]
    before: str

    @property
    def is_narrowed(self) -> bool:
        return any(self.fields.values())

    def address(self, path: str, *, before: str = "") -> str:
        """Of the same search, from `before` on."""
        given = {name: value for name, value in self.fields.items() if value}
        query = urlencode(given | ({"before": before} if before else {}))
        return f"{path}?{query}" if query else path


def wanted_of(query: Mapping[str, str]) -> Wanted:
    """Raises Invalid for what no field can hold."""
    for name in (*FIELDS, "before"):
        if len(query.get(name, "")) > MOST_CHARACTERS:
            raise Invalid(f"What is searched for has at most {MOST_CHARACTERS} characters.")
        if not query.get(name, "").isprintable():
            raise Invalid("What is searched for has a character that cannot be printed.")
    return Wanted({name: query.get(name, "").strip() for name in FIELDS}, query.get("before", ""))


def search_of(wanted: Wanted, tenant_id: TenantId, *, now_unix_ms: int) -> CallSearch:
    """Of `tenant_id`'s calls alone. Raises Invalid for what is no tier, outcome, status or day."""
    given = {name: value or None for name, value in wanted.fields.items()}
    tier, outcome, status = given["tier"], given["outcome"], given["status"]
    if tier is not None and tier not in list(Tier):
        raise Invalid(f"A tier is one of {', '.join(Tier)}.")
    if outcome is not None and outcome not in list(CallOutcome):
        raise Invalid(f"An outcome is one of {', '.join(CallOutcome)}.")
    if status is not None and not (len(status) == 3 and status.isascii() and status.isdigit()):
        raise Invalid("An HTTP status is a number of three digits.")
    ranged = given["since"] is not None or given["until"] is not None
    return CallSearch(
        tenant_id=tenant_id,
        span=span_of_days(given["since"], given["until"], now_unix_ms=now_unix_ms) if ranged else None,
        model=given["model"],
        api_key_id=given["key"],
        tier=tier,
        outcome=outcome,
        http_status=int(status) if status is not None else None,
        id_starts=given["id"],
    )
