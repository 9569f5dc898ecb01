"""Commands about pins: where a tenant's calls of a model or a purpose go, and nowhere else."""

from typing import Annotated

import typer

from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import print_json, print_table

app = typer.Typer(help="Where a tenant's calls go, by an administrator's word.", no_args_is_help=True)


@app.command("add")
def add_pin(
    tenant: Annotated[str, typer.Option("--tenant", help="A tenant's name or id.")],
    tier: Annotated[str, typer.Option("--tier", help="own, pool or external")],
    model: Annotated[str | None, typer.Option("--model", help="Calls of this model [default: any]")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="general or coding [default: any]")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="This pool alone.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="This agent alone.")] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Pins calls of a model or a purpose and prints the pin's id."""
    wanted = {
        "tenant": tenant,
        "model": model,
        "purpose": purpose,
        "tier": tier,
        "pool": pool,
        "agent": agent,
    }
    made = ask(find_target(url, token, data), "POST", "/pins", json=wanted)
    if as_json:
        print_json(made)
    else:
        print(made["id"])


@app.command("end")
def end_pin(
    pin: Annotated[str, typer.Argument(help="A pin's id, as `daalu pins list` shows it.")],
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """The calls go where they went before."""
    row = ask(find_target(url, token, data), "POST", f"/pins/{segment(pin)}/end")
    if as_json:
        print_json(row)
    else:
        print(f"ended {row['id']}")


@app.command("list")
def list_pins(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """The pins that hold now."""
    params = {} if tenant is None else {"tenant": tenant}
    found = ask(find_target(url, token, data), "GET", "/pins", params=params)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["id"],
            each["tenant_id"],
            each["model"] or "any",
            each["purpose"] or "any",
            each["tier"],
            each["agent_id"] or each["pool_id"],
        )
        for each in found
    ]
    print_table(("ID", "TENANT", "MODEL", "PURPOSE", "TIER", "WHERE"), rows, empty="no pins")
