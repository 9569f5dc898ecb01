"""The command line of `daalu-agent`, parsed into values; main acts on them."""

import argparse
import math
import socket
from collections.abc import Sequence
from pathlib import Path

from agent.config import DEFAULT_FILE, LOG_LEVELS, NAMES

ENROL_TIMEOUT_S = 120.0
WAIT_TIMEOUT_S = 90.0
LEAVE_TIMEOUT_S = 20.0
_INVITE_HELP = (
    "a file that holds the invite, - for standard input, or the invite itself "
    "(which every user of this host sees in the list of processes)"
)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """`command` names what to do; settings that were not given are None. Ends the process on wrong usage."""
    parser = argparse.ArgumentParser(prog="daalu-agent", description="The daemon on a GPU host.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    settings = _settings()

    run = commands.add_parser("run", parents=[settings], help="run the daemon until it is stopped")
    run.add_argument("--invite", help=f"enrol first where that was not done yet: {_INVITE_HELP}")
    run.add_argument(
        "--ephemeral",
        action="store_true",
        help="take tunnel and engine down at the end; without it they go on, and the next daemon adopts them",
    )
    _add_enrolment(run)

    enrol = commands.add_parser("enrol", parents=[settings], help="join a control plane")
    enrol.add_argument("invite", metavar="INVITE", help=_INVITE_HELP)
    _add_enrolment(enrol)

    commands.add_parser("status", parents=[settings], help="identity, tunnel, cards, engine, last contact")
    commands.add_parser(
        "doctor", parents=[settings], help="look this host over, from the driver to the first token"
    )
    wait = commands.add_parser(
        "wait", parents=[settings], help="wait until the control plane hears this host"
    )
    _add_timeout(wait, WAIT_TIMEOUT_S)
    commands.add_parser("down", parents=[settings], help="stop the daemon, the engine and the tunnel")
    leave = commands.add_parser(
        "leave", parents=[settings], help="have this agent revoked for good, before its removal"
    )
    _add_timeout(leave, LEAVE_TIMEOUT_S)
    commands.add_parser("version", help="print the version")
    return parser.parse_args(arguments)


def given_settings(arguments: argparse.Namespace) -> dict[str, object | None]:
    return {name: getattr(arguments, name) for name in NAMES}


def _settings() -> argparse.ArgumentParser:
    """A flag for each of AgentConfig's values; config.py says what they mean and checks them."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("settings", f"also in {DEFAULT_FILE} and as DAALU_AGENT_... variables")
    group.add_argument("--config", type=Path, metavar="FILE", help=f"in place of {DEFAULT_FILE}")
    group.add_argument("--state", metavar="DIRECTORY")
    group.add_argument("--interface", metavar="NAME", help="the tunnel's, unique on the machine")
    group.add_argument("--rpc-port", metavar="PORT")
    group.add_argument("--engine-port", metavar="PORT")
    group.add_argument("--engine-python", metavar="FILE", help="the Python of the engine's environment")
    group.add_argument("--models", metavar="DIRECTORY")
    group.add_argument("--catalogue", metavar="DIRECTORY", help="catalogue entries of your own")
    group.add_argument("--simulated-card", metavar="NAME", help="report a made-up card, labelled as such")
    group.add_argument("--log-level", metavar="|".join(LOG_LEVELS))
    group.add_argument("--engine-environment", metavar="NAME=VALUE", action="append")
    return parser


def _add_enrolment(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("enrolment")
    group.add_argument("--name", default=socket.gethostname(), help="this host's name (default: %(default)s)")
    group.add_argument("--direct", action="store_true", help="NO TUNNEL: control plane on this same machine")
    _add_timeout(group, ENROL_TIMEOUT_S)


def _add_timeout(group: argparse._ActionsContainer, default_s: float) -> None:
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=default_s,
        metavar="SECONDS",
        help="give up after this long (default: %(default).0f)",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError(text)
    return value
