"""The control plane's composition root: builds every part, runs them, and stops them in order."""

import asyncio
import gc
import hashlib
import hmac
import logging
import resource
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import uvloop
from sqlalchemy.exc import SQLAlchemyError

from control_plane.access import OPERATOR, AccessIndex, OperatorToken
from control_plane.api import (
    ApiParts,
    CannotListen,
    Listener,
    build_api,
    plain_listener,
    tls_listener,
)
from control_plane.catalogue import CardClasses, Catalogue, Tokenizers, load_names
from control_plane.config import Settings
from control_plane.console import Console, ConsoleParts, Provider, load_oidc
from control_plane.economy import DriftWatch, EconomyIndex
from control_plane.enrolment import (
    Authority,
    AuthorityUnusable,
    create_invite,
    enrolment_routes,
    file_key_sha256,
)
from control_plane.fleet import Fleet, revoke
from control_plane.fleet.diagnostics import DiagnosticRuns, Pipeline, PipelineParts, Route
from control_plane.fleet.load_test import LoadClient, LoadTests, MeasuredLimits
from control_plane.fleet.telemetry import Limits, Recorder
from control_plane.gateway import Gateway, OwnCounting, Rooms, Siblings
from control_plane.identifiers import AgentId
from control_plane.install import BadRelease, Installation, Release
from control_plane.metrics import CallMeters, MetricsParts, ProcessFigures
from control_plane.router import World, why_left_out
from control_plane.store import Store, unix_ms
from control_plane.tunnel import HubError, HubKeyUnusable, hub_public_key, run_hub
from control_plane.vendors import load_vendors

logger = logging.getLogger(__name__)

TICKET_SECRET_BYTES = 32
MIB = 1024**2
# The part that ends last.
SIBLINGS = "siblings"
# Containers made and not freed by their count before the collector looks for cycles among the young.
COLLECT_EVERY_ALLOCATIONS = 10_000


class CannotServe(Exception):
    """Something that is needed is not there; the message says what to do."""


class PartFailed(CannotServe):
    """A part that the others need ended while serving; the message names it, the log says why."""


@dataclass(frozen=True, slots=True)
class _Built:
    listeners: list[Listener]
    # By the name that an operator knows it by.
    background: dict[str, Callable[[], Coroutine[Any, Any, None]]]
    before_listening: Callable[[], Awaitable[None]]
    # Ends what would go on for as long as its client likes.
    before_stopping: Callable[[], None] = lambda: None


def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises CannotServe."""
    with ExitStack() as stack:
        try:
            store = Store(settings.database_url)
            stack.callback(store.close)
            store.migrate()
            limits = Limits(file_bytes=settings.telemetry_mib * MIB)
            recorder = Recorder(settings.directory.telemetry, limits)
            stack.callback(recorder.close)
            built = _build(settings, store, recorder)
        # InvalidSetting, InvalidEntry and an unusable operator token are ValueErrors.
        except (CannotListen, AuthorityUnusable, BadRelease, HubKeyUnusable, ValueError) as error:
            raise CannotServe(str(error)) from error
        except SQLAlchemyError as error:
            raise CannotServe(f"the database cannot be used: {_first_line(error)}") from error
        except OSError as error:
            raise CannotServe(f"{error.filename}: {error.strerror}") from error
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        spare_the_collector()
        _raise_the_limit_of_files()
        runner.run(_run(built, settings))


def _raise_the_limit_of_files() -> None:
    """Every connection is one: as many as this user may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def spare_the_collector() -> None:
    """What was imported and built lives as long as the process: the collector need not look at it again
    and again. One full pass takes 85 ms, and under load a fifth of the CPU went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY_ALLOCATIONS, 20, 20)


def hub(settings: Settings) -> None:
    """The hub's process, until SIGTERM or SIGINT. Raises CannotServe."""
    try:
        run_hub(settings)
    except HubError as error:
        raise CannotServe(str(error)) from error


def _build(settings: Settings, store: Store, recorder: Recorder) -> _Built:
    directory = settings.directory
    catalogue = Catalogue.load(settings.catalogue)
    authority = Authority.load(directory.authority)
    secret = directory.ticket_secret.read_bytes()
    if len(secret) != TICKET_SECRET_BYTES:
        raise CannotServe(f"{directory.ticket_secret} has not {TICKET_SECRET_BYTES} bytes: restore it")
    access = AccessIndex(store)
    economy = EconomyIndex(store)
    card_classes = CardClasses.load(settings.catalogue)
    siblings = Siblings(store)
    fleet = Fleet(
        store,
        authority,
        secret,
        catalogue,
        allow_direct=settings.allow_direct,
        card_classes=card_classes,
        record=recorder,
        orphaned_before_unix_ms=lambda: siblings.orphaned_before_unix_ms,
        drain_limit_s=settings.drain_limit_s,
    )
    load_tests = LoadTests(store, fleet, _load_client(settings), access.refresh)
    measured = MeasuredLimits(store)
    pipeline = PipelineParts(
        store=store,
        fleet=fleet,
        catalogue=catalogue,
        telemetry=directory.telemetry,
        route=Route(settings.public_url, directory.tls_certificate.absolute(), access.refresh),
        why_left_out=lambda agent: why_left_out(agent, World(fleet.view, measured=measured.current)),
    )
    diagnostics = DiagnosticRuns(store, fleet, Pipeline(pipeline))
    pin = file_key_sha256(directory.tls_certificate)

    async def invite(tenant_id: str, actor: str = OPERATOR) -> tuple[str, int]:
        return await store.write(
            lambda session: create_invite(
                session,
                tenant_id=tenant_id,
                url=settings.public_url,
                control_plane_key_sha256=pin,
                actor=actor,
                now_unix_ms=unix_ms(),
            )
        )

    installation = None
    if settings.artifacts is not None:
        installation = Installation(Release.load(settings.artifacts), settings.public_url, pin)

    async def revoke_agent(agent_id: AgentId, actor: str) -> None:
        await revoke(store, agent_id, actor)

    meters = CallMeters()

    def figures() -> ProcessFigures:
        return ProcessFigures(
            store_writes_waiting=store.writes_waiting_count,
            unwritten_calls=gateway.unwritten_calls_count,
            telemetry_samples_waiting=recorder.waiting_count,
            telemetry_samples_dropped=recorder.dropped_count,
        )

    oidc = load_oidc(directory.oidc)
    # A key of its own for the salts, so that neither use of the secret says anything of the other.
    salt_key = hmac.digest(secret, b"daalu-cache-salt", hashlib.sha256)
    counting = OwnCounting(Tokenizers.load(settings.catalogue, catalogue))
    names = load_names(catalogue, settings.catalogue)
    vendors = load_vendors(settings.vendors, default=directory.vendors)
    rooms = Rooms(access, fleet, economy, counting, names, vendors, lambda: measured.current)
    gateway = Gateway(store, rooms, secret=salt_key, processes=lambda: siblings.count, meters=meters)
    operator_token = OperatorToken.load(directory.operator_token)
    console = Console(
        ConsoleParts(
            store=store,
            fleet=fleet,
            catalogue=catalogue,
            card_classes=card_classes,
            telemetry=directory.telemetry,
            operator_token=operator_token,
            economy=economy,
            create_invite=invite,
            revoke_agent=revoke_agent,
            conversing=gateway,
            diagnostics=diagnostics,
            load_tests=load_tests,
            installation=installation,
            identity_provider=Provider(oidc, settings.public_url) if oidc is not None else None,
        )
    )
    api = build_api(
        ApiParts(
            store=store,
            fleet=fleet,
            catalogue=catalogue,
            card_classes=card_classes,
            diagnostics=diagnostics,
            load_tests=load_tests,
            refresh_measured=measured.refresh,
            telemetry=directory.telemetry,
            operator_token=operator_token,
            access=access,
            metrics=MetricsParts(fleet, meters, figures),
            enrolment=enrolment_routes(
                store,
                authority,
                hub_public_key=hub_public_key(directory.hub_key),
                hub_endpoint=settings.hub_endpoint,
                allow_direct=settings.allow_direct,
                revoke_agent=revoke_agent,
            ),
            create_invite=invite,
            revoke_agent=revoke_agent,
            refresh_access=access.refresh,
            installation=installation,
            refresh_economy=economy.refresh,
            public_url=settings.public_url,
            console=console.routes,
        )
    )
    listeners = [
        tls_listener(api, settings.listen, directory.tls_certificate, directory.tls_key, inference=gateway)
    ]
    if settings.listen_plain is not None:
        listeners.append(plain_listener(api, settings.listen_plain, inference=gateway))
    background = {
        "API keys": access.run,
        "economy": economy.run,
        "fleet": fleet.run,
        "diagnostics": diagnostics.run,
        "load tests": load_tests.run,
        "measured limits": measured.run,
        "gateway": gateway.run,
        SIBLINGS: siblings.run,
        "drift watch": DriftWatch(store).run,
    }

    async def before_listening() -> None:
        await access.refresh()
        await economy.refresh()
        await measured.refresh()

    return _Built(listeners, background, before_listening, console.close)


def _load_client(settings: Settings) -> LoadClient | None:
    if settings.load_client is None or settings.catalogue is None:
        return None
    return LoadClient(
        python=settings.load_client,
        base_url=settings.public_url,
        certificate=settings.directory.tls_certificate.absolute(),
        tokenizers=settings.catalogue.absolute() / "tokenizers",
    )


async def _run(built: _Built, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await built.before_listening()
    # No task group: it would cancel what serves the calls in flight, before they may end.
    serving = [
        asyncio.create_task(listener.run_until_stopped(), name=f"listener {listener.address}")
        for listener in built.listeners
    ]
    background = [asyncio.create_task(run(), name=name) for name, run in built.background.items()]
    asked = asyncio.create_task(stop.wait())
    logger.info(
        "serving",
        extra={
            "listen": settings.listen,
            "listen_plain": settings.listen_plain or "none",
            "public_url": settings.public_url,
        },
    )
    await asyncio.wait([asked, *serving, *background], return_when=asyncio.FIRST_COMPLETED)
    failed = None if asked.done() else _log_end(next(each for each in serving + background if each.done()))
    logger.info("stopping: calls in flight may end")
    built.before_stopping()
    # Listeners first: what serves their calls must outlive them.
    for listener in built.listeners:
        listener.stop()
    await asyncio.wait(serving)
    # The siblings last: they take a process that has said goodbye for one that settles no more calls.
    siblings = [task for task in background if task.get_name() == SIBLINGS]
    for ended in ([asked, *(task for task in background if task not in siblings)], siblings):
        for task in ended:
            task.cancel()
        await asyncio.wait(ended)
    for task in serving + background:
        if failed != task.get_name() and not task.cancelled() and task.exception():
            failed = _log_end(task)
    logger.info("stopped")
    if failed is not None:
        raise PartFailed(
            f"the part {failed!r} ended unexpectedly, so everything was stopped; the log says why"
        )


def _log_end(task: "asyncio.Task[None]") -> str:
    error = None if task.cancelled() else task.exception()
    logger.error("the part %r ended: %r", task.get_name(), error, exc_info=error)
    return task.get_name()


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
