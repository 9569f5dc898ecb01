"""The middleware: decides about each request, and writes down those it lets in.

`DAALU_GATE_CONFIG` names a JSON file: `served_name`, `journal` (a directory), `ticket_keys` (a file),
`draining` and `pool_refused` (files: while they exist no call is admitted, or none of a pool),
`max_running_calls` and `pool_reserve` (calls kept free for the owner). A gate that cannot read it does not
start, and neither does the engine then.
"""

import collections
import dataclasses
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from .journal import TIERS_WITH_RECEIPTS, Journal, Record
from .ticket import Refused, TicketKeys, read_ticket
from .usage import Answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("daalu.gate")

INFERENCE = dict.fromkeys(("/v1/chat/completions", "/v1/completions", "/v1/embeddings"), "POST")
READING = dict.fromkeys(("/health", "/metrics", "/v1/models"), "GET")
ROUTES = INFERENCE | READING
ROUTES_OF_TIER = {"own": INFERENCE, "pool": INFERENCE, "agent": ROUTES, "probe": ROUTES}

ATTEMPTS_REMEMBERED_MAX = 200_000
REFUSALS_LOGGED_PER_S = 20


def pool_capacity_left(running_own: int, running_pool: int, running_max: int, reserve: int) -> bool:
    """Whether one more pool call may run: not in the owner's reserve, not while the owner's calls wait."""
    return (
        running_own < running_max
        and running_own + running_pool < running_max
        and running_pool < running_max - reserve
    )


class Gate:
    """The middleware. Counts what it admitted, by tier, in `running`."""

    def __init__(self, app: App) -> None:
        config = json.loads(Path(os.environ["DAALU_GATE_CONFIG"]).read_bytes())
        self._app = app
        self._served_name = str(config["served_name"])
        self._draining, self._pool_refused = str(config["draining"]), str(config["pool_refused"])
        self._running_max, self._reserve = int(config["max_running_calls"]), int(config["pool_reserve"])
        self._keys = TicketKeys(Path(config["ticket_keys"]))
        self._journal = Journal(Path(config["journal"]), time.time())
        self.running: collections.Counter[str] = collections.Counter()
        self._logged_second, self._logged = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            self._report(scope, "websocket_denied")
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            admission = self._admit(scope, time.time())
        except Refused as refusal:
            self._report(scope, refusal.code)
            await refuse(send, refusal)
            return
        # What lies behind the gate has no use for the ticket.
        headers = [pair for pair in scope["headers"] if pair[0] != b"x-daalu-ticket"]
        scope = {**scope, "headers": headers}
        if scope["path"] in READING:
            await self._app(scope, receive, send)
        else:
            await self._serve(admission, scope, receive, send)

    def _admit(self, scope: Scope, now_s: float) -> Record:
        path = scope["path"]
        if path not in ROUTES:
            raise Refused(404, "unknown_path", "there is nothing at this path")
        if scope["method"] != ROUTES[path]:
            raise Refused(405, "method_not_allowed", f"this path takes {ROUTES[path]} only")
        tickets = [value for name, value in scope["headers"] if name == b"x-daalu-ticket"]
        if len(tickets) != 1:
            raise Refused(401, "ticket_missing", "one x-daalu-ticket header is needed")
        ticket = read_ticket(tickets[0], self._keys, now_s)
        if path not in ROUTES_OF_TIER[ticket.tier]:
            raise Refused(404, "unknown_path", "there is nothing at this path")
        if ticket.served_name != self._served_name:
            raise Refused(403, "wrong_model", "the ticket is for another model than this engine's")
        self._journal.forget(now_s)
        if ticket.attempt_id in self._journal.attempts:
            raise Refused(403, "ticket_replayed", "the ticket has been used")
        if len(self._journal.attempts) >= ATTEMPTS_REMEMBERED_MAX:
            raise Refused(503, "busy", "too many calls in the last minute")
        admission = {"kind": "admission", **dataclasses.asdict(ticket), "path": path}
        admission["accepted_unix_ms"] = int(now_s * 1000)
        if path in READING:
            self._journal.note(admission)
            return admission
        if ticket.tier in TIERS_WITH_RECEIPTS and os.path.exists(self._draining):  # noqa: PTH110 (per call)
            raise Refused(503, "draining", "this engine takes no new calls")
        if ticket.tier == "pool" and os.path.exists(self._pool_refused):  # noqa: PTH110 (per call)
            raise Refused(503, "pool_refused", "this engine takes no calls of pools now")
        if ticket.tier == "pool" and not pool_capacity_left(
            self.running["own"], self.running["pool"], self._running_max, self._reserve
        ):
            raise Refused(503, "no_capacity", "this engine has no room for a pool call")
        # An owner's own calls must not stop because the disk is full; another tenant's need their record.
        if not self._journal.admit(admission, now_s) and ticket.tier == "pool":
            raise Refused(503, "journal_unwritable", "this engine cannot record the call")
        return admission

    async def _serve(self, admission: Record, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer()

        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not answer.ended:
                answer.caller_gone = True
            return message

        async def watched_send(message: Message) -> None:
            answer.see(message)
            if answer.ended:
                # Before the last byte leaves: whoever has seen the end of an answer finds its receipt.
                self._journal.end(admission, answer.ending())
            await send(message)

        self.running[admission["tier"]] += 1
        try:
            await self._app(scope, watched_receive, watched_send)
        finally:
            self.running[admission["tier"]] -= 1
            self._journal.end(admission, answer.ending())

    def _report(self, scope: Scope, code: str) -> None:
        """One line for a refusal, never the ticket; a flood of them is counted, not printed."""
        second = int(time.monotonic())
        if second != self._logged_second:
            if self._logged > REFUSALS_LOGGED_PER_S:
                log.warning("refused %d more requests", self._logged - REFUSALS_LOGGED_PER_S)
            self._logged_second, self._logged = second, 0
        self._logged += 1
        if self._logged <= REFUSALS_LOGGED_PER_S:
            client = scope.get("client")
            method, path = str(scope.get("method", "websocket"))[:10], str(scope.get("path"))[:80]
            log.warning("refused %s: %s %r from %s", code, method, path, client[0] if client else "unknown")


async def refuse(send: Send, refusal: Refused) -> None:
    """Answer in OpenAI's shape. The connection closes, so that a body nobody wants is not read."""
    kind = {401: "authentication_error", 403: "permission_error", 503: "server_error"}
    error = {"message": refusal.message, "type": kind.get(refusal.status, "invalid_request_error")}
    body = json.dumps({"error": {**error, "param": None, "code": refusal.code}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 405:
        headers.append((b"allow", b"GET, POST"))
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
