"""Commands about the audit trail."""

import json
from typing import Annotated

import typer

from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target
from control_plane.cli.show import moment, print_json, print_table

app = typer.Typer(help="The audit trail: who changed what.", no_args_is_help=True)


@app.command("list")
def list_entries(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", help='By this id or e-mail address, or by "operator".')
    ] = None,
    action: Annotated[
        str | None,
        typer.Option("--action", help="This action, like key.revoked, or its kind, like key."),
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="To what has this id.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this UTC day on.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="To the end of this UTC day.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="The newest this many.")] = 50,
    before: Annotated[
        int | None, typer.Option("--before", min=0, help="Only entries older than this number.")
    ] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """The newest changes first."""
    wanted: dict[str, str | int | None] = {
        "tenant": tenant,
        "actor": actor,
        "action": action,
        "subject": subject,
        "since": since,
        "until": until,
        "limit": limit,
        "before": before,
    }
    params = {name: value for name, value in wanted.items() if value is not None}
    found = ask(find_target(url, token, data), "GET", "/audit", params=params)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["id"],
            moment(each["at_unix_ms"]),
            each["tenant_name"],
            each["actor_name"] or each["actor"],
            each["action"],
            each["subject"],
            json.dumps(each["detail"], ensure_ascii=False) if each["detail"] else "",
        )
        for each in found["entries"]
    ]
    print_table(("NO", "WHEN", "TENANT", "ACTOR", "ACTION", "SUBJECT", "DETAIL"), rows, empty="no entries")
    if found["next_before"] is not None:
        print(f"there are older ones: --before {found['next_before']}")
