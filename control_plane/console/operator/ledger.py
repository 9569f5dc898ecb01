"""Whether the books are in order: the operator runs the check, and everybody after sees how the last went."""

import asyncio
import time
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlmodel import Session

from control_plane.access import AuditEntry, AuditSearch, audit, read_trail
from control_plane.console.door import Door, Refused
from control_plane.console.pages import OPERATOR_LEDGER
from control_plane.console.rendering import Rendering
from control_plane.economy import Broken, verify
from control_plane.store import Store

ACTION = "ledger.checked"
MOST_CHECKS = 10


def ledger_page_routes(store: Store, door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()
    # It reads every row of the books: one at a time.
    checking = asyncio.Lock()

    @routes.get(OPERATOR_LEDGER.path)
    async def page(request: Request) -> Response:
        viewer = await door.viewer(request, OPERATOR_LEDGER)

        def query(session: Session) -> tuple[AuditEntry, ...]:
            return read_trail(session, AuditSearch(action=ACTION), before=None, limit=MOST_CHECKS).entries

        checks = await store.read(query)
        return rendering.page(
            viewer, OPERATOR_LEDGER, "operator/ledger.html", checks=checks, is_running=checking.locked()
        )

    @routes.post(f"{OPERATOR_LEDGER.path}/check")
    async def check(request: Request) -> Response:
        viewer, _ = await door.change(request, OPERATOR_LEDGER)
        if checking.locked():
            raise Refused(409, "A check is running: look again in a moment.")
        async with checking:
            began_s = time.monotonic()
            # In a thread, as everything that is read.
            broken = await store.read(verify)
            detail = _outcome(broken, duration_ms=round((time.monotonic() - began_s) * 1000))
            await store.write(
                lambda session: audit(
                    session, actor=viewer.actor, action=ACTION, subject="ledger", detail=detail
                )
            )
        return RedirectResponse(OPERATOR_LEDGER.path, 303)

    return routes


def _outcome(broken: list[Broken], *, duration_ms: int) -> Mapping[str, object]:
    """What is kept of a check: the first broken invariant with its evidence, and how many there are."""
    kept: dict[str, object] = {"broken": len(broken), "duration_ms": duration_ms}
    if broken:
        kept |= {"first": broken[0].invariant, "evidence": list(broken[0].evidence)}
    return kept
