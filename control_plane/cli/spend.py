"""Commands about spend, savings, quota, what providers' cards served, and how calls went."""

from typing import Annotated, Any

import typer

from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import milliseconds, moment, print_json, print_pairs, print_table, usd

OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's, by name or id.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="From this UTC day on, like 2026-11-01; default: the month's first."),
]
Until = Annotated[str | None, typer.Option("--until", help="To the end of this UTC day; default: today.")]


def spend(
    tenant: OfTenant = None,
    by: Annotated[
        str, typer.Option("--by", help="Of tenant, tier, model, key and day, with commas between them.")
    ] = "tenant,tier,model",
    since: Since = None,
    until: Until = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """What was used and charged, by tenant, tier, model, key or day. Owed is the charge less the reversed."""
    params = _params(tenant, since, until) | {"by": by}
    found = ask(find_target(url, token, data), "GET", "/spend", params=params)
    if as_json:
        print_json(found)
        return
    fields = ("tenant_id", "tier", "model", "key_name", "api_key_id", "day")
    shown = [name for name in fields if any(each[name] is not None for each in found)]
    rows = [
        [
            *(each[name] for name in shown),
            each["calls"],
            each["prompt_tokens"],
            each["completion_tokens"],
            usd(each["charge_pico_usd"]),
            usd(each["reversed_pico_usd"]),
        ]
        for each in found
    ]
    heads = (name.removesuffix("_id").replace("_", " ").upper() for name in shown)
    print_table(
        (*heads, "CALLS", "PROMPT", "COMPLETION", "CHARGE", "REVERSED"), rows, empty="nothing was used"
    )


def savings(
    tenant: OfTenant = None,
    since: Since = None,
    until: Until = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """What calls on tenants' own cards would have cost in the hosted pools."""
    found = ask(find_target(url, token, data), "GET", "/savings", params=_params(tenant, since, until))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["tenant_id"],
            each["model"],
            each["pool_name"],
            each["calls"],
            each["unpriced_calls"],
            f"{each['prompt_tokens']} + {each['completion_tokens']}",
            "not priced" if each["hosted_pico_usd"] is None else usd(each["hosted_pico_usd"]),
        )
        for each in found
    ]
    columns = ("TENANT", "MODEL", "POOL", "CALLS", "NOT PRICED", "TOKENS", "WOULD HAVE COST")
    print_table(columns, rows, empty="nothing to compare: no hosted pool, or no call on an own card")


def quota(
    tenant: Annotated[str, typer.Argument(help="A tenant's name or id.")],
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """A tenant's month in each of its pools, and where it goes if use goes on as it did."""
    found = ask(find_target(url, token, data), "GET", f"/tenants/{segment(tenant)}/quota")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["pool_name"],
            each["plan_name"],
            each["quota_tokens"],
            each["used_tokens"],
            each["held_tokens"],
            each["left_tokens"],
            moment(each["resets_unix_ms"]),
            "too early to say" if each["projected_tokens"] is None else each["projected_tokens"],
            moment(each["runs_out_unix_ms"]),
        )
        for each in found
    ]
    columns = ("POOL", "PLAN", "QUOTA", "USED", "HELD", "LEFT", "RESETS", "AT MONTH'S END", "RUNS OUT")
    print_table(columns, rows, empty="no quota: the tenant may use no pool")


def served(
    tenant: OfTenant = None,
    since: Since = None,
    until: Until = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """What providers' cards served for others, by hour and model."""
    found = ask(find_target(url, token, data), "GET", "/served", params=_params(tenant, since, until))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["tenant_id"],
            each["agent_id"],
            moment(each["hour_unix_ms"]),
            each["model"],
            each["calls"],
            f"{each['prompt_tokens']} + {each['completion_tokens']}",
            usd(each["credit_pico_usd"]),
            usd(each["reversed_pico_usd"]),
        )
        for each in found
    ]
    columns = ("TENANT", "CARD", "HOUR FROM", "MODEL", "CALLS", "TOKENS", "CREDIT", "REVERSED")
    print_table(columns, rows, empty="nothing was served for others")


def call_figures(
    tenant: OfTenant = None,
    since: Since = None,
    until: Until = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """How calls went: how many, how they ended, and how fast; of at most 31 days."""
    found = ask(find_target(url, token, data), "GET", "/call-figures", params=_params(tenant, since, until))
    if as_json:
        print_json(found)
        return
    counts = ("calls", "complete", "running", "client_gone", "refused", "failed")
    print_pairs(
        [
            *((name.replace("_", " "), found[name]) for name in counts),
            ("tokens", f"{found['prompt_tokens']} + {found['completion_tokens']}"),
            ("average", milliseconds(found["average_ms"])),
            ("95 % within", milliseconds(found["p95_ms"])),
        ]
    )


def refusals(
    tenant: OfTenant = None,
    since: Since = None,
    until: Until = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Why calls were refused or failed, the most frequent reason first; of at most 31 days."""
    found = ask(find_target(url, token, data), "GET", "/refusals", params=_params(tenant, since, until))
    if as_json:
        print_json(found)
        return
    fields = ("outcome", "error_code", "http_status", "calls")
    rows = [[each[name] for name in fields] for each in found]
    print_table(("OUTCOME", "REASON", "STATUS", "CALLS"), rows, empty="no call was refused or failed")


def _params(tenant: str | None, since: str | None, until: str | None) -> dict[str, Any]:
    wanted = (("tenant", tenant), ("since", since), ("until", until))
    return {name: value for name, value in wanted if value is not None}
