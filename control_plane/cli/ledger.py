"""Commands about usage, credits, statements and the ledger."""

from typing import Annotated, Any

import typer

from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target
from control_plane.cli.show import moment, plain, print_json, print_table, usd

statements = typer.Typer(help="What tenants owe for a month.", no_args_is_help=True)
ledger = typer.Typer(help="The books.", no_args_is_help=True)

OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's, by name or id.")]
OfMonth = Annotated[str | None, typer.Option("--month", help="Only this month's, like 2026-11.")]


def usage(
    tenant: OfTenant = None,
    month: OfMonth = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """What tenants used, by month, tier, pool and model."""
    found = ask(find_target(url, token, data), "GET", "/usage", params=_params(tenant, month))
    if as_json:
        print_json(found)
        return
    fields = ("tenant_id", "month", "tier", "pool_id", "model", "calls", "prompt_tokens", "completion_tokens")
    rows = [[*(each[name] for name in fields), usd(each["charge_pico_usd"])] for each in found]
    columns = ("TENANT", "MONTH", "TIER", "POOL", "MODEL", "CALLS", "PROMPT", "COMPLETION", "CHARGE")
    print_table(columns, rows, empty="nothing was used")


def credits_of_cards(
    tenant: OfTenant = None,
    month: OfMonth = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """What providers earned, by card and month."""
    found = ask(find_target(url, token, data), "GET", "/credits", params=_params(tenant, month))
    if as_json:
        print_json(found)
        return
    amounts = ("non_payable_pico_usd", "held_pico_usd", "payable_pico_usd")
    rows = [
        [each["tenant_id"], each["agent_id"], each["month"], *(usd(each[name]) for name in amounts)]
        for each in found
    ]
    columns = ("TENANT", "CARD", "MONTH", "NON-PAYABLE", "HELD", "PAYABLE")
    print_table(columns, rows, empty="no credits")


@statements.command("list")
def list_statements(
    tenant: OfTenant = None, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """What tenants owe, month by month, and what was paid."""
    found = ask(find_target(url, token, data), "GET", "/statements", params=_params(tenant, None))
    if as_json:
        print_json(found)
        return
    rows = [
        (each["tenant_id"], each["month"], usd(each["charge_pico_usd"]), moment(each["paid_unix_ms"]))
        for each in found
    ]
    print_table(("TENANT", "MONTH", "CHARGE", "PAID"), rows, empty="no statements")


@statements.command("mark-paid")
def mark_paid(
    tenant: Annotated[str, typer.Argument(help="A tenant's name or id.")],
    month: Annotated[str, typer.Argument(help="Like 2026-11.")],
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Records that a tenant paid a month; the credit held for it becomes payable."""
    make_sure(f"Mark {month} of {tenant} as paid? What its providers earned becomes payable.", yes=yes)
    wanted = {"tenant": tenant, "month": month}
    found = ask(find_target(url, token, data), "POST", "/statements/paid", json=wanted)
    if as_json:
        print_json(found)
    else:
        print(f"paid: {found['month']}, {usd(found['charge_pico_usd'])}")


@ledger.command("verify")
def verify(url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False) -> None:
    """Checks every invariant of the books; exit code 1 where one is broken."""
    broken = ask(find_target(url, token, data), "GET", "/ledger/verify")
    if as_json:
        print_json(broken)
        if broken:
            raise typer.Exit(1)
        return
    if broken:
        first = broken[0]
        rows = "".join(f"\n  {plain(row)}" for row in first["evidence"])
        more = f"\nand {len(broken) - 1} more: see --json" if len(broken) > 1 else ""
        raise Failure(f"the ledger is broken: not so that {first['invariant']}{rows}{more}")
    print("the ledger is in order")


@ledger.command("reverse")
def reverse(
    call: Annotated[str, typer.Argument(help="The id of a call that was charged.")],
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Takes a call's charge and credit back, by a transaction of its own."""
    make_sure(f"Take back what {call} was charged, and the credit for it?", yes=yes)
    made = ask(find_target(url, token, data), "POST", "/ledger/reverse", json={"call": call})
    if as_json:
        print_json(made)
    else:
        print(made["transaction_id"])


def _params(tenant: str | None, month: str | None) -> dict[str, Any]:
    return {name: value for name, value in (("tenant", tenant), ("month", month)) if value is not None}
