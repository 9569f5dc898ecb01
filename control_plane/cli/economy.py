"""Commands about pools, plans, prices, shares, subscriptions and tenants' policies."""

from typing import Annotated, Any

import typer

from control_plane.cli.arguments import AgentArgument, NewName, PoolArgument, TenantArgument
from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import moment, print_json, print_pairs, print_table
from control_plane.store.economy_tables import Billing, Overage, PoolKind, TrustPolicy

pools = typer.Typer(help="Cards shared under one price and share.", no_args_is_help=True)
plans = typer.Typer(help="Terms of use of pools.", no_args_is_help=True)
prices = typer.Typer(help="What tokens cost, by pool and model.", no_args_is_help=True)
shares = typer.Typer(help="What a pool's third-party cards earn of a charge.", no_args_is_help=True)
subscriptions = typer.Typer(help="Tenants' rights to use pools.", no_args_is_help=True)

PoolOption = Annotated[str, typer.Option("--pool", help="A pool's name or id.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="A tenant's name or id.")]
Starts = Annotated[int | None, typer.Option(help="From when on, in Unix milliseconds; default: now.")]


@pools.command("create")
def create_pool(
    name: NewName,
    kind: Annotated[PoolKind, typer.Option(help="hosted: the operator's cards only.")],
    default_plan: Annotated[
        str | None, typer.Option(help="The plan of tenants without a subscription; hosted pools only.")
    ] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Makes a pool and prints its id."""
    wanted = {"name": name, "kind": kind.value, "default_plan": default_plan}
    made = ask(find_target(url, token, data), "POST", "/pools", json=wanted)
    _print_made(made, made["id"], as_json)


@pools.command("list")
def list_pools(url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False) -> None:
    """Every pool, by name."""
    found = ask(find_target(url, token, data), "GET", "/pools")
    if as_json:
        print_json(found)
        return
    rows = [(each["name"], each["kind"], each["id"], moment(each["created_unix_ms"])) for each in found]
    print_table(
        ("NAME", "KIND", "ID", "CREATED"), rows, empty="no pools: daalu pools create NAME --kind KIND"
    )


@pools.command("show")
def show_pool(
    pool: PoolArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """A pool's cards, prices and share."""
    found = ask(find_target(url, token, data), "GET", f"/pools/{segment(pool)}")
    if as_json:
        print_json(found)
        return
    print_pairs(
        [
            ("name", found["name"]),
            ("id", found["id"]),
            ("kind", found["kind"]),
            ("default plan", found["default_plan_id"]),
            ("share", f"{found['share_basis_points'] / 100:.2f} %"),
        ]
    )
    cards = [
        (
            card["agent_name"],
            card["agent_id"],
            card["tenant_id"],
            "operator" if card["operator_run"] else "third party",
        )
        for card in found["cards"]
    ]
    print_table(("CARD", "ID", "TENANT", "RUN BY"), cards, empty="no cards: daalu pools contribute AGENT")
    _print_prices(found["prices"])


@pools.command("contribute")
def contribute(
    agent: AgentArgument,
    pool: PoolOption,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Lends an agent's spare capacity to a pool."""
    made = ask(
        find_target(url, token, data), "POST", f"/pools/{segment(pool)}/contribute", json={"agent": agent}
    )
    _print_made(made, f"{made['agent_id']} is lent to {made['pool_id']}", as_json)


@pools.command("withdraw")
def withdraw(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Takes an agent out of its pool at once; calls under way end and are credited."""
    row = ask(find_target(url, token, data), "POST", f"/agents/{segment(agent)}/withdraw")
    _print_made(row, f"{row['agent_id']} is withdrawn from {row['pool_id']}", as_json)


@plans.command("create")
def create_plan(
    name: NewName,
    monthly_tokens: Annotated[int, typer.Option(help="Quota of a calendar month, UTC.")],
    requests_per_minute: Annotated[int, typer.Option(help="Calls begun in a minute.")] = 60,
    tokens_per_minute: Annotated[int, typer.Option(help="Tokens held in a minute.")] = 100_000,
    concurrent_calls: Annotated[int, typer.Option(help="Calls at the same time.")] = 8,
    default_output_tokens: Annotated[int, typer.Option(help="Where a call names no max_tokens.")] = 1024,
    overage: Annotated[Overage, typer.Option(help="What happens beyond the quota.")] = Overage.STOP,
    billing: Annotated[Billing, typer.Option(help="Credit from free use is never payable.")] = (
        Billing.INVOICED
    ),
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Makes a plan and prints its id. Plans do not change."""
    wanted = {
        "name": name,
        "monthly_tokens": monthly_tokens,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent_calls": concurrent_calls,
        "default_output_tokens": default_output_tokens,
        "overage": overage.value,
        "billing": billing.value,
    }
    made = ask(find_target(url, token, data), "POST", "/plans", json=wanted)
    _print_made(made, made["id"], as_json)


@plans.command("list")
def list_plans(url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False) -> None:
    """Every plan with its quota and limits."""
    found = ask(find_target(url, token, data), "GET", "/plans")
    if as_json:
        print_json(found)
        return
    fields = (
        "name", "monthly_tokens", "requests_per_minute", "tokens_per_minute", "concurrent_calls", "overage",
        "billing", "id",
    )  # fmt: skip
    columns = ("NAME", "TOKENS/MONTH", "REQUESTS/MIN", "TOKENS/MIN", "AT ONCE", "OVERAGE", "BILLING", "ID")
    print_table(columns, [[each[name] for name in fields] for each in found], empty="no plans")


@prices.command("set")
def set_price(
    model: Annotated[str, typer.Argument(help="What clients ask for it by.")],
    pool: PoolOption,
    input_price: Annotated[int, typer.Option("--input", help="Micro-USD per million tokens.")],
    output_price: Annotated[int, typer.Option("--output", help="Micro-USD per million tokens.")],
    cached_input: Annotated[int | None, typer.Option(help="Operator cards only; default: --input.")] = None,
    starts_unix_ms: Starts = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Sets a model's price in a pool. MODEL is the served name."""
    wanted = {
        "model": model,
        "input_micro_usd_per_mtok": input_price,
        "output_micro_usd_per_mtok": output_price,
        "cached_input_micro_usd_per_mtok": cached_input,
        "starts_unix_ms": starts_unix_ms,
    }
    made = ask(find_target(url, token, data), "POST", f"/pools/{segment(pool)}/prices", json=wanted)
    _print_made(made, f"{made['model']} is priced from {moment(made['starts_unix_ms'])} on", as_json)


@prices.command("list")
def list_prices(
    pool: Annotated[str | None, typer.Option("--pool", help="Only this pool's, by name or id.")] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Prices in micro-USD per million tokens, the newest of each model first."""
    params = {} if pool is None else {"pool": pool}
    found = ask(find_target(url, token, data), "GET", "/prices", params=params)
    if as_json:
        print_json(found)
    else:
        _print_prices(found)


@shares.command("set")
def set_share(
    basis_points: Annotated[int, typer.Argument(help="Hundredths of a percent.")],
    pool: PoolOption,
    starts_unix_ms: Starts = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Sets what a pool's third-party cards earn."""
    wanted = {"share_basis_points": basis_points, "starts_unix_ms": starts_unix_ms}
    made = ask(find_target(url, token, data), "POST", f"/pools/{segment(pool)}/share", json=wanted)
    line = f"{made['share_basis_points'] / 100:.2f} % from {moment(made['starts_unix_ms'])} on"
    _print_made(made, line, as_json)


@subscriptions.command("start")
def start_subscription(
    tenant: TenantOption,
    pool: PoolOption,
    plan: Annotated[str, typer.Option(help="A plan's name or id.")],
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Gives a tenant the right to use a pool and prints the subscription's id."""
    wanted = {"tenant": tenant, "pool": pool, "plan": plan}
    made = ask(find_target(url, token, data), "POST", "/subscriptions", json=wanted)
    _print_made(made, made["id"], as_json)


@subscriptions.command("end")
def end_subscription(
    subscription: Annotated[
        str, typer.Argument(help="A subscription's id, as `daalu subscriptions list` shows it.")
    ],
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Takes the right to use a pool away; calls under way end."""
    make_sure(f"End {subscription}? The tenant cannot use the pool from then on.", yes=yes)
    row = ask(find_target(url, token, data), "POST", f"/subscriptions/{segment(subscription)}/end")
    _print_made(row, f"ended {row['id']}", as_json)


@subscriptions.command("list")
def list_subscriptions(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Who may use which pool under which plan; ended ones too."""
    params = {} if tenant is None else {"tenant": tenant}
    found = ask(find_target(url, token, data), "GET", "/subscriptions", params=params)
    if as_json:
        print_json(found)
        return
    rows = [
        (each["tenant_id"], each["pool_id"], each["plan_id"], each["id"], moment(each["ended_unix_ms"]))
        for each in found
    ]
    print_table(("TENANT", "POOL", "PLAN", "ID", "ENDED"), rows, empty="no subscriptions")


def policy(
    tenant: TenantArgument,
    trust: Annotated[TrustPolicy | None, typer.Option(help="Whose cards of a pool may serve it.")] = None,
    operator: Annotated[
        bool | None, typer.Option("--operator/--no-operator", help="Its cards are operator-run.")
    ] = None,
    external: Annotated[
        bool | None, typer.Option("--external/--no-external", help="Vendors may serve it.")
    ] = None,
    external_cap_micro_usd: Annotated[
        int | None, typer.Option(help="The most spent at vendors in a month.")
    ] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Shows a tenant's role and policy, after changing what is named."""
    wanted = {
        "is_operator": operator,
        "trust": trust.value if trust is not None else None,
        "external_allowed": external,
        "external_cap_micro_usd": external_cap_micro_usd,
    }
    target, path = find_target(url, token, data), f"/tenants/{segment(tenant)}/policy"
    if all(value is None for value in wanted.values()):
        found = ask(target, "GET", path)
    else:
        found = ask(target, "POST", path, json=wanted)
    if as_json:
        print_json(found)
        return
    print_pairs([(name.replace("_", " "), value) for name, value in found.items()])


def _print_prices(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            each["model"],
            each["pool_id"],
            each["input_micro_usd_per_mtok"],
            each["output_micro_usd_per_mtok"],
            each["cached_input_micro_usd_per_mtok"],
            moment(each["starts_unix_ms"]),
        )
        for each in found
    ]
    columns = ("MODEL", "POOL", "INPUT", "OUTPUT", "CACHED INPUT", "FROM")
    print_table(columns, rows, empty="no prices: a model without one is not served in a pool")


def _print_made(value: Any, line: str, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        print(line)
