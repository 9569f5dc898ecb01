"""A card that outlives the control plane: a scripted engine, and the receipts that its gate would have kept.

What to do stands in the prompt, so that any call can be sent to any card:

- "words N": N words, with a pause after each; a whole answer where it is not streamed.
- "fail": nothing and a closed connection, for the first attempt of the call.
- "endless": two words, then silence until the other side hangs up.
- "checkpointed": two words, then silence until a checkpoint of them is durable, twice.
- "held": silence until `let_go` is set, then as "words 3".
"""

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from daalu_wire.v1 import agent_pb2

from tests.support.gateway_engine import (
    END,
    PROMPT_TOKENS,
    Exchange,
    ScriptedEngine,
    answer,
    chunk,
    last_chunk,
    scripted_engine,
)

# The tokens of a whole answer.
WHOLE_TOKENS = 5


@dataclass(slots=True)
class Served:
    """One attempt that reached the card."""

    call_id: str
    attempt_id: str
    streamed: bool
    # Sent so far.
    words: int = 0
    tokens: int = 0
    # The whole answer is on its way.
    finished: bool = False


@dataclass
class Card:
    agent_id: str
    engine: ScriptedEngine
    # The completion tokens of an attempt's last durable checkpoint.
    checkpointed: Callable[[str], Awaitable[int]] = field(init=False)
    pause_s: float = 0.0
    served: list[Served] = field(default_factory=list)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def receipts(self) -> tuple[str, tuple[bytes, ...]]:
        """The card's journal: of every attempt that it served."""
        journal = [
            agent_pb2.Receipt(
                sequence=sequence,
                call_id=each.call_id,
                attempt_id=each.attempt_id,
                served_name="tiny",
                http_status=200,
                prompt_tokens=PROMPT_TOKENS,
                completion_tokens=each.tokens,
                accepted_unix_ms=1_000,
                first_byte_unix_ms=1_010 if each.tokens else 0,
                ended_unix_ms=1_100,
                outcome=agent_pb2.RECEIPT_OUTCOME_COMPLETE
                if each.finished
                else agent_pb2.RECEIPT_OUTCOME_CALLER_GONE,
            )
            for sequence, each in enumerate(self.served, 1)
        ]
        return self.agent_id, tuple(each.SerializeToString() for each in journal)

    async def serve(self, exchange: Exchange) -> None:
        call_id, attempt_id = _ids(exchange)
        streamed = bool(exchange.json.get("stream"))
        served = Served(call_id, attempt_id, streamed)
        first = all(each.call_id != call_id for each in self.served)
        self.served.append(served)
        what, _, count = exchange.json["messages"][0]["content"].partition(" ")
        if what == "fail" and first:
            exchange.break_off()
            return
        if what == "held":
            await self._wait_or_leave(exchange, self.let_go)
        if not streamed:
            await asyncio.sleep(self._pause())
            served.tokens, served.finished = WHOLE_TOKENS, True
            await exchange.send_json(answer("word", WHOLE_TOKENS))
            return
        await exchange.start_stream()
        await exchange.piece(chunk("", role="assistant"))
        if what == "endless":
            await self._words(exchange, served, 2)
            await exchange.hung_up.wait()
            return
        if what == "checkpointed":
            for _ in range(2):
                await self._words(exchange, served, 2)
                await self._durable(exchange, served)
        else:
            await self._words(exchange, served, int(count or 3))
        served.tokens, served.finished = served.words + 1, True
        for one in (chunk("", done=served.tokens, finish="stop"), last_chunk(served.tokens), END):
            await exchange.piece(one)
        await exchange.end_stream()

    async def _words(self, exchange: Exchange, served: Served, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(self._pause())
            served.words += 1
            served.tokens = served.words
            await exchange.piece(chunk("word", done=served.words))

    async def _durable(self, exchange: Exchange, served: Served) -> None:
        while not exchange.hung_up.is_set() and await self.checkpointed(served.attempt_id) < served.words:  # noqa: ASYNC110 - a row is what is waited for
            await asyncio.sleep(0.01)

    async def _wait_or_leave(self, exchange: Exchange, event: asyncio.Event) -> None:
        waiting = [asyncio.create_task(event.wait()), asyncio.create_task(exchange.hung_up.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    def _pause(self) -> float:
        return random.random() * 2 * self.pause_s


@asynccontextmanager
async def card(agent_id: str) -> AsyncIterator[Card]:
    async with scripted_engine() as engine:
        made = Card(agent_id, engine)
        engine.otherwise = made.serve
        yield made


def _ids(exchange: Exchange) -> tuple[str, str]:
    """Of call and attempt, as the ticket has them."""
    claims = exchange.headers["x-daalu-ticket"].partition(".")[0]
    value = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return value["c"], value["a"]
