"""POST /enrolment/v1/claim and /leave: bounds on what is read, and the result as HTTP."""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable

from daalu_wire.v1 import enrolment_pb2
from fastapi import APIRouter, Request, Response
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect

from control_plane.enrolment.authority import Authority
from control_plane.enrolment.claim import Hub, claim, unknown_token
from control_plane.enrolment.claim_request import MAX_BODY_BYTES, ClaimRequest, parse_claim
from control_plane.enrolment.leave import parse_leave, unknown_agent
from control_plane.enrolment.queries import agent_has_key, invite_exists
from control_plane.enrolment.refusal import HTTP_STATUS, Refusal, RefusalCode, Refused
from control_plane.identifiers import AgentId
from control_plane.store import Store, WriterClosed, WriterOverloaded, unix_ms
from control_plane.tunnel import NetworkFull

logger = logging.getLogger(__name__)

CLAIM_PATH = "/enrolment/v1/claim"
LEAVE_PATH = "/enrolment/v1/leave"
BODY_TIMEOUT_S = 10.0
# An agent and who asks for its end.
RevokeAgent = Callable[[AgentId, str], Awaitable[None]]
# More claims at once than this are asked to come back; agents do, with jitter.
MAX_CLAIMS_AT_ONCE = 64
RETRY_AFTER_S = 2
# A proxy sets one of these, and then its own address is not the host's.
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def enrolment_routes(
    store: Store,
    authority: Authority,
    *,
    hub_public_key: str,
    hub_endpoint: str,
    allow_direct: bool,
    revoke_agent: RevokeAgent,
    clock: Callable[[], int] = unix_ms,
) -> APIRouter:
    """`hub_endpoint`: host and UDP port as agents see them. `clock` gives Unix milliseconds."""
    router = APIRouter()
    hub = Hub(hub_public_key, hub_endpoint)
    places = asyncio.Semaphore(MAX_CLAIMS_AT_ONCE)

    async def decide(request: ClaimRequest) -> enrolment_pb2.ClaimResponse | Refusal:
        # A read first, so that nobody without an invite reaches the writer.
        if not await store.read(lambda session: invite_exists(session, request.token_sha256)):
            return unknown_token()
        return await store.write(lambda session: claim(session, request, authority, hub, clock()))

    @router.post(CLAIM_PATH, include_in_schema=False)
    async def claim_invite(http: Request) -> Response:
        # Before it has a place: who sends slowly keeps nobody out.
        try:
            body = await _body(http)
        except Refused as refused:
            return _refused(refused.refusal)
        except ClientDisconnect:
            return Response(status_code=400)
        if places.locked():
            return _come_back("too many claims at once: try again")
        async with places:
            try:
                request = parse_claim(body)
                if request.direct:
                    _check_direct(http, allow_direct)
                outcome = await decide(request)
            except Refused as refused:
                outcome = refused.refusal
            except NetworkFull as error:
                logger.error("a claim could not be served: %s", error)  # noqa: TRY400 - no trace needed
                return _come_back("the control plane has no address left: its operator must act")
            except (WriterOverloaded, WriterClosed):
                return _come_back("the control plane is busy or stopping: try again")
        if isinstance(outcome, Refusal):
            return _refused(outcome)
        logger.info("agent enrolled", extra={"agent": outcome.agent_id, "agent_name": outcome.agent_name})
        return _json(200, outcome)

    @router.post(LEAVE_PATH, include_in_schema=False)
    async def leave(http: Request) -> Response:
        try:
            body = await _body(http)
        except Refused as refused:
            return _refused(refused.refusal)
        except ClientDisconnect:
            return Response(status_code=400)
        if places.locked():
            return _come_back("too many requests at once: try again")
        async with places:
            try:
                request = parse_leave(body)
                # A read first, so that nobody but an agent reaches the writer.
                agent, key = request.agent_id, request.tls_key_sha256
                if not await store.read(lambda session: agent_has_key(session, agent, key)):
                    return _refused(unknown_agent())
                await revoke_agent(agent, agent)
            except Refused as refused:
                return _refused(refused.refusal)
            except (WriterOverloaded, WriterClosed):
                return _come_back("the control plane is busy or stopping: try again")
        logger.info("agent left", extra={"agent": agent})
        return _json(200, enrolment_pb2.LeaveResponse())

    return router


async def _body(http: Request) -> bytes:
    """At most MAX_BODY_BYTES, within BODY_TIMEOUT_S."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in http.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Refused(
                        RefusalCode.MALFORMED,
                        f"body is not acceptable: it is larger than {MAX_BODY_BYTES} bytes",
                    )
    except TimeoutError:
        raise Refused(
            RefusalCode.MALFORMED,
            f"body is not acceptable: it did not arrive within {BODY_TIMEOUT_S:.0f} s",
        ) from None
    return bytes(body)


def _check_direct(http: Request, allow_direct: bool) -> None:
    """Raises Refused."""
    if not allow_direct:
        raise Refused(
            RefusalCode.DIRECT_NOT_ALLOWED,
            "direct mode is off here: enrol without --direct, or start `daalu serve --allow-direct`",
        )
    local = http.client is not None and ipaddress.ip_address(http.client.host).is_loopback
    if not local or any(name in http.headers for name in _PROXY_HEADERS):
        raise Refused(
            RefusalCode.DIRECT_NOT_ALLOWED,
            "direct mode is for the control plane's own machine, over loopback: enrol without --direct",
        )


def _refused(refusal: Refusal) -> Response:
    logger.warning("enrolment request refused", extra={"code": str(refusal.code), "reason": refusal.message})
    message = enrolment_pb2.EnrolmentRefusal(code=refusal.code, message=refusal.message)
    return _json(HTTP_STATUS[refusal.code], message)


def _come_back(reason: str) -> Response:
    response = _json(503, enrolment_pb2.EnrolmentRefusal(code="unavailable", message=reason))
    response.headers["retry-after"] = str(RETRY_AFTER_S)
    return response


def _json(status: int, message: Message) -> Response:
    return Response(
        json_format.MessageToJson(message, preserving_proto_field_name=False),
        status,
        # An answer holds nothing secret, but is for one host alone.
        {"cache-control": "no-store"},
        "application/json",
    )
