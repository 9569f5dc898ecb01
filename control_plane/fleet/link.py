"""One agent's link: connects, converses and connects again, for as long as the agent is enrolled."""

import asyncio
import logging
import math
import time
from datetime import UTC, datetime

import grpc
from sqlalchemy.exc import SQLAlchemyError

from control_plane.fleet import leaf
from control_plane.fleet.backoff import Backoff
from control_plane.fleet.conversation import Conversation, Parts, renew_and_note, stub_of
from control_plane.fleet.dial import close, in_words
from control_plane.fleet.leaf import Verdict
from control_plane.fleet.liveness import next_look_s
from control_plane.fleet.renewal import RenewalRefused
from control_plane.fleet.state import AgentState
from control_plane.store import WriterOverloaded

logger = logging.getLogger(__name__)

RECONNECT_FIRST_S = 0.25
RECONNECT_CAP_S = 3.0
AFTER_A_DEFECT_S = 5.0


class AgentLink:
    """Owns everything that this process does with one agent."""

    def __init__(self, state: AgentState, parts: Parts) -> None:
        self.state = state
        self._parts = parts
        self._channel: grpc.aio.Channel | None = None

    async def run(self) -> None:
        """Until cancelled. A defect of ours in one link is logged, and does not end the others."""
        while True:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch_silence())
                    tasks.create_task(self._stay_connected())
            except Exception:
                logger.exception("the link to agent %s broke; starting it again", self.state.agent_id)
                self.state.problem("connection", "a defect in the control plane; its log has the details")
            await asyncio.sleep(AFTER_A_DEFECT_S)

    @property
    def channel(self) -> grpc.aio.Channel | None:
        """The connection while there is one that answered."""
        return self._channel

    async def _watch_silence(self) -> None:
        state = self.state
        while True:
            state.liveness_changed.clear()
            wait_s = next_look_s(state.contact) - time.monotonic()
            try:
                async with asyncio.timeout(None if math.isinf(wait_s) else max(0.0, wait_s)):
                    await state.liveness_changed.wait()
            except TimeoutError:
                state.tick(time.monotonic())

    async def _stay_connected(self) -> None:
        backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_CAP_S)
        while True:
            heard_s = self.state.contact.heard_s
            self.state.problem("connection", await self._connect_once())
            if self.state.contact.heard_s > heard_s:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _connect_once(self) -> str:
        """Dials, converses to the end, and returns in words why that came."""
        state = self.state
        channel = self._parts.dialler.channel(state.facts)
        try:
            conversation = Conversation(state, self._parts, stub_of(channel))
            async with self._parts.connecting:
                await conversation.begin()
            self._channel = channel
            return await conversation.go_on()
        except grpc.aio.AioRpcError as error:
            words = in_words(error, state.facts.rpc_target)
            unreachable = error.code() is not grpc.StatusCode.UNAVAILABLE
        finally:
            self._channel = None
            await close(channel)
        return words if unreachable else await self._explain(words)

    async def _explain(self, words: str) -> str:
        """Looks at the certificate that is shown, and renews it where expiry is all that is wrong."""
        facts = self.state.facts
        try:
            shown = leaf.judge(
                await leaf.fetch(facts.host, facts.rpc_port), facts.tls_key_sha256, datetime.now(UTC)
            )
        except (OSError, ValueError):
            # Nothing there, or nothing that speaks TLS: the words of the first attempt say it better.
            return words
        match shown.verdict:
            case Verdict.FOREIGN:
                return f"{facts.rpc_target}: what answers there has another key than agent {facts.name}"
            case Verdict.EXPIRED:
                return await self._recover(shown.certificate_pem)
            case Verdict.GOOD:
                return words

    async def _recover(self, shown_pem: bytes) -> str:
        """Renews over a connection that trusts this one certificate, and does nothing else with it."""
        facts = self.state.facts
        if time.monotonic() < self.state.renew_not_before_s:
            return "its certificate has expired; it is not renewed again so soon after the last time"
        channel = self._parts.dialler.channel(facts, trust_pem=shown_pem)
        try:
            async with self._parts.connecting:
                await renew_and_note(stub_of(channel), self.state, self._parts)
        except grpc.aio.AioRpcError as error:
            return f"its certificate has expired and was not renewed: {in_words(error, facts.rpc_target)}"
        except (RenewalRefused, TimeoutError, WriterOverloaded, SQLAlchemyError) as error:
            return f"its certificate has expired and was not renewed: {str(error) or type(error).__name__}"
        finally:
            await close(channel)
        return "its certificate had expired; it was renewed"
