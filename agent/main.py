"""The one place that knows every room: builds them, runs them, and ends them in order."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from agent import VERSION, cli
from agent.config import AgentConfig, ConfigError, load_config
from agent.daemon import Daemon, examine, snapshot_without, take_down_without
from agent.diagnostics import describe as describe_result
from agent.engine import EngineInUse, InvalidEntry
from agent.enrolment import EnrolmentError, Host, InvalidInvite, claim, leave, parse_invite
from agent.identity import Identity, State, StateError
from agent.rpc import CannotListen
from agent.status import ControlFailed, Progress, Request, Snapshot, ask, describe, progress
from agent.tunnel import CommandFailed, TunnelError

# Faults whose text is all that an operator needs.
_IN_WORDS = (
    CannotListen,
    CommandFailed,
    ControlFailed,
    EngineInUse,
    EnrolmentError,
    InvalidEntry,
    InvalidInvite,
    StateError,
    TunnelError,
)
INVITE_FILE_LIMIT_BYTES = 64 * 1024
WAIT_POLL_S = 0.5

log = logging.getLogger("agent")


def main(arguments: Sequence[str] | None = None) -> int:
    """`daalu-agent`. 0: done; 1: it failed, and standard error has one line that says why; 2: wrong usage."""
    given = cli.parse(arguments)
    if given.command == "version":
        print(VERSION)
        return 0
    try:
        config = load_config(given.config, os.environ, cli.given_settings(given))
    except ConfigError as error:
        return _fail(error, 2)
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return _COMMANDS[given.command](config, given)
    except _IN_WORDS as error:
        return _fail(error, 1)
    except PermissionError as error:
        return _fail(f"{error.filename or error}: {error.strerror}: run this as root", 1)
    except OSError as error:
        # A full or read-only disk, a broken device: its own words are the best there are.
        return _fail(f"{error.filename or given.command}: {error.strerror or error}", 1)
    except ExceptionGroup as group:
        return _fail_group(group)
    except KeyboardInterrupt:
        return 130


def _run(config: AgentConfig, given: argparse.Namespace) -> int:
    with State.locked(config.state) as state:
        identity = state.identity()
        if identity is None and given.invite is not None:
            identity = _claim(config, state, given)
        if identity is None:
            return _fail("this host is not enrolled: daalu-agent enrol INVITE, or run --invite INVITE", 1)
        asyncio.run(_serve(config, identity, state, ephemeral=given.ephemeral))
    return 0


async def _serve(config: AgentConfig, identity: Identity, state: State, *, ephemeral: bool) -> None:
    daemon = await Daemon.build(config, identity, state)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop, ephemeral)
    await daemon.run()


def _enrol(config: AgentConfig, given: argparse.Namespace) -> int:
    identity = State(config.state).identity() if config.state.is_dir() else None
    if identity is None:
        with State.locked(config.state) as state:
            identity = state.identity()
            if identity is None:
                identity = _claim(config, state, given)
                print(f"enrolled as {_name(identity)} of tenant {identity.tenant_name}")
                return 0
    print(f"already enrolled as {_name(identity)} at {identity.control_plane_url}: nothing was changed")
    return 0


def _claim(config: AgentConfig, state: State, given: argparse.Namespace) -> Identity:
    host = Host(given.name, VERSION, config.rpc_port, config.engine_port, given.direct)
    invite = parse_invite(_invite_text(given.invite))
    enrolled = claim(invite, host, state, timeout_s=given.timeout, report=_report)
    if enrolled.warning:
        _report(enrolled.warning)
    if given.direct:
        _report("direct mode: there is NO TUNNEL, and nothing outside this machine can use this agent")
    return enrolled.identity


def _invite_text(given: str) -> str:
    """Of a file, of standard input, or what was given itself. Raises InvalidInvite."""
    if given == "-":
        return sys.stdin.read(INVITE_FILE_LIMIT_BYTES)
    if given.lstrip().startswith("daalu-invite-"):
        return given
    try:
        with Path(given).open(encoding="utf-8") as file:
            return file.read(INVITE_FILE_LIMIT_BYTES)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInvite("that is neither an invite nor a file that holds one") from error


def _status(config: AgentConfig, given: argparse.Namespace) -> int:
    del given
    state = State(config.state)
    if config.state.is_dir():
        state.check()
        answer = ask(config.state, Request.STATUS)
        if answer is not None:
            print(describe(_snapshot(answer)), end="")
            return 0
    print(describe(asyncio.run(snapshot_without(config, state))), end="")
    return 0


def _doctor(config: AgentConfig, given: argparse.Namespace) -> int:
    """1 where a check failed."""
    del given
    state = State(config.state)
    running = None
    if config.state.is_dir():
        state.check()
        answer = ask(config.state, Request.STATUS)
        running = None if answer is None else _snapshot(answer)
    return asyncio.run(_print_examination(config, state, running))


async def _print_examination(config: AgentConfig, state: State, running: Snapshot | None) -> int:
    failed = 0
    async with contextlib.aclosing(examine(config, state, running)) as progress:
        async for step in progress:
            if step.HasField("ended"):
                print(describe_result(step.ended), flush=True)
                failed += step.ended.verdict == agent_pb2.DIAGNOSTIC_VERDICT_FAIL
    return 1 if failed else 0


def _down(config: AgentConfig, given: argparse.Namespace) -> int:
    del given
    if not config.state.is_dir():
        print(f"{config.state}: no agent here, nothing to take down")
        return 0
    State(config.state).check()
    if ask(config.state, Request.DOWN) is not None:
        print("the daemon took engine and tunnel down and ended")
        return 0
    with State.locked(config.state) as state:
        identity = state.identity()
        if identity is not None:
            asyncio.run(take_down_without(config, identity, state))
    print("engine and tunnel are down")
    return 0


def _wait(config: AgentConfig, given: argparse.Namespace) -> int:
    """Says each change on its way; 1 where the time is up first."""
    deadline = time.monotonic() + given.timeout
    said = ""
    while True:
        now = _progress(config)
        if now.words != said:
            said = now.words
            _report(said)
        if now.connected:
            return 0
        if time.monotonic() >= deadline:
            return _fail(f"not connected within {given.timeout:.0f} s: {said}", 1)
        time.sleep(WAIT_POLL_S)


def _progress(config: AgentConfig) -> Progress:
    answer = ask(config.state, Request.STATUS) if config.state.is_dir() else None
    return progress(None if answer is None else _snapshot(answer))


def _leave(config: AgentConfig, given: argparse.Namespace) -> int:
    state = State(config.state)
    identity = state.identity() if config.state.is_dir() else None
    key = None if identity is None else state.tls_key()
    if identity is None or key is None:
        print("this host is not enrolled: there is nothing to revoke")
        return 0
    leave(identity, key, timeout_s=given.timeout, report=_report)
    print(f"{_name(identity)} is revoked at {identity.control_plane_url}")
    return 0


def _snapshot(answer: bytes) -> Snapshot:
    try:
        return Snapshot.load(answer)
    except ValueError as error:
        raise ControlFailed(str(error)) from error


def _name(identity: Identity) -> str:
    return f"{identity.agent_name} ({identity.agent_id})"


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail_group(group: ExceptionGroup[Exception]) -> int:
    """A room ended the daemon: in words where the fault has some, else with its trace."""
    in_words, unforeseen = group.split(_IN_WORDS)
    if unforeseen is not None:
        log.critical("a part of the agent failed and the daemon ends", exc_info=unforeseen)
    while in_words is not None and isinstance(in_words.exceptions[0], ExceptionGroup):
        in_words = in_words.exceptions[0]
    return 1 if in_words is None else _fail(in_words.exceptions[0], 1)


def _fail(problem: object, status: int) -> int:
    print(f"daalu-agent: {problem}", file=sys.stderr)
    return status


_COMMANDS = {
    "run": _run,
    "enrol": _enrol,
    "status": _status,
    "doctor": _doctor,
    "wait": _wait,
    "down": _down,
    "leave": _leave,
}
