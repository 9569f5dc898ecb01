"""Commands about tenants, users and API keys."""

from typing import Annotated, Any

import typer

from control_plane.cli.arguments import NewName, UserArgument
from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import moment, print_json, print_table
from control_plane.store.tables import Purpose, UserRole

tenants = typer.Typer(help="Customer organisations.", no_args_is_help=True)
users = typer.Typer(help="People of a tenant.", no_args_is_help=True)
keys = typer.Typer(help="API keys: what programs use.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option("--tenant", help="A tenant's name or id.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's, by name or id.")]


@tenants.command("create")
def create_tenant(
    name: NewName, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Makes a tenant and prints its id."""
    made = ask(find_target(url, token, data), "POST", "/tenants", json={"name": name})
    _print_made(made, made["id"], as_json)


@tenants.command("list")
def list_tenants(url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False) -> None:
    """Every tenant, by name."""
    found = ask(find_target(url, token, data), "GET", "/tenants")
    if as_json:
        print_json(found)
        return
    rows = [(each["name"], each["id"], moment(each["created_unix_ms"])) for each in found]
    print_table(("NAME", "ID", "CREATED"), rows, empty="no tenants yet: daalu tenants create NAME")


@users.command("create")
def create_user(
    email: Annotated[str, typer.Argument(help="Whom it is for.")],
    tenant: Tenant,
    role: Annotated[UserRole, typer.Option(help="What the user may do.")] = UserRole.MEMBER,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Makes a user and prints its id."""
    wanted = {"tenant": tenant, "email": email, "role": role.value}
    made = ask(find_target(url, token, data), "POST", "/users", json=wanted)
    _print_made(made, made["id"], as_json)


@users.command("list")
def list_users(
    tenant: OfTenant = None, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Users, with their tenants and roles."""
    found = ask(find_target(url, token, data), "GET", "/users", params=_of(tenant))
    if as_json:
        print_json(found)
        return
    rows = [
        (each["email"], each["role"], each["tenant_id"], each["id"], moment(each["created_unix_ms"]))
        for each in found
    ]
    print_table(("EMAIL", "ROLE", "TENANT", "ID", "CREATED"), rows, empty="no users")


@users.command("link")
def link_user(
    user_id: UserArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Prints the address at which the user chooses a password: good once, for 72 hours, shown this once."""
    made = ask(find_target(url, token, data), "POST", f"/users/{segment(user_id)}/link")
    _print_made(made, made["link"], as_json)


@users.command("remove")
def remove_user(
    user_id: UserArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Signs a user out everywhere, for good."""
    row = ask(find_target(url, token, data), "POST", f"/users/{segment(user_id)}/remove")
    _print_made(row, f"removed {row['id']} ({row['email']})", as_json)


@keys.command("create")
def create_key(
    name: NewName,
    tenant: Tenant,
    purpose: Annotated[Purpose, typer.Option(help="Coding calls stay within the tenant's perimeter.")] = (
        Purpose.GENERAL
    ),
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Makes a key and prints it. It is shown this once."""
    wanted = {"tenant": tenant, "name": name, "purpose": purpose.value}
    made = ask(find_target(url, token, data), "POST", "/keys", json=wanted)
    _print_made(made, made["secret"], as_json)


@keys.command("list")
def list_keys(
    tenant: OfTenant = None, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Keys by their first characters, revoked ones too; the rest of a key is kept nowhere."""
    found = ask(find_target(url, token, data), "GET", "/keys", params=_of(tenant))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            each["hint"] + "…",
            each["purpose"],
            each["tenant_id"],
            each["id"],
            moment(each["created_unix_ms"]),
            moment(each["revoked_unix_ms"]),
        )
        for each in found
    ]
    columns = ("NAME", "KEY", "PURPOSE", "TENANT", "ID", "CREATED", "REVOKED")
    print_table(columns, rows, empty="no keys: daalu keys create NAME --tenant TENANT")


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="A key's id, as `daalu keys list` shows it.")],
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Ends a key for good; it is refused within a second."""
    make_sure(f"Revoke the key {key_id}? Programs that use it are refused from then on.", yes=yes)
    row = ask(find_target(url, token, data), "POST", f"/keys/{segment(key_id)}/revoke")
    _print_made(row, f"revoked {row['id']} ({row['name']})", as_json)


def _print_made(value: Any, line: str, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        print(line)


def _of(tenant: str | None) -> dict[str, str]:
    return {} if tenant is None else {"tenant": tenant}
