"""An engine whose pace is fixed, so that what a load client should measure of it is known."""

import asyncio
from dataclasses import dataclass, field

from control_plane.gateway.request import CHAT_COMPLETIONS
from tests.support.gateway_engine import END, Exchange, chunk, last_chunk


@dataclass
class PacedEngine:
    """At most `seats` calls at once are worked on; others wait, as in a real engine's queue."""

    first_token_s: float
    between_tokens_s: float
    seats: int
    _seats: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._seats = asyncio.Semaphore(self.seats)

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path != CHAT_COMPLETIONS:
            # The load client asks an engine for more, which the gateway would not show it either.
            await exchange.send_json({}, 200 if exchange.path == "/health" else 404)
            return
        body = exchange.json
        tokens = body["max_completion_tokens"]
        async with self._seats:
            loop = asyncio.get_running_loop()
            due = loop.time() + self.first_token_s
            await exchange.start_stream()
            for done in range(1, tokens + 1):
                # By the clock: what one token was late, the next is not late by.
                await asyncio.sleep(max(0.0, due - loop.time()))
                due += self.between_tokens_s
                finish = "length" if done == tokens else None
                await exchange.piece(chunk(" word", done=done, finish=finish))
            await exchange.piece(last_chunk(tokens))
            await exchange.piece(END)
            await exchange.end_stream()
