"""The command line, put together."""

import sys
from typing import Any

import typer

from control_plane.cli import (
    access,
    agents,
    audit,
    backup,
    calls,
    cards,
    chat,
    contexts,
    diagnostics,
    doctor,
    economy,
    ledger,
    load_tests,
    models,
    pins,
    providers,
    spend,
    top,
)
from control_plane.cli.context_option import offer_everywhere
from control_plane.cli.failure import Failure
from control_plane.cli.start import register

app = typer.Typer(
    name="daalu",
    help="The Daalu AI Factory's control plane: set it up, run it, look after it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
register(app)
backup.register(app)
app.add_typer(access.tenants, name="tenants")
app.add_typer(access.users, name="users")
app.add_typer(access.keys, name="keys")
app.add_typer(agents.app, name="agents")
app.add_typer(diagnostics.app, name="diagnostics")
app.add_typer(load_tests.app, name="loadtests")
app.add_typer(models.app, name="models")
app.add_typer(cards.app, name="cards")
app.add_typer(calls.app, name="calls")
app.add_typer(economy.pools, name="pools")
app.add_typer(economy.plans, name="plans")
app.add_typer(economy.prices, name="prices")
app.add_typer(economy.shares, name="shares")
app.add_typer(economy.subscriptions, name="subscriptions")
app.add_typer(pins.app, name="pins")
access.tenants.command("policy")(economy.policy)
app.command("doctor")(doctor.doctor)
app.command("top")(top.top)
app.command("chat")(chat.chat)
app.command("usage")(ledger.usage)
app.command("spend")(spend.spend)
app.command("savings")(spend.savings)
app.command("quota")(spend.quota)
app.command("served")(spend.served)
app.command("call-figures")(spend.call_figures)
app.command("refusals")(spend.refusals)
app.command("credits")(ledger.credits_of_cards)
app.add_typer(ledger.statements, name="statements")
app.add_typer(ledger.ledger, name="ledger")
app.add_typer(providers.app, name="providers")
app.add_typer(audit.app, name="audit")
app.add_typer(contexts.app, name="contexts")


def whole_command() -> Any:
    """Every command as it is run, with what all of them take."""
    command = typer.main.get_command(app)
    offer_everywhere(command)
    return command


def main() -> None:
    try:
        whole_command()()
    except Failure as failure:
        print(f"daalu: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
