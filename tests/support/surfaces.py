"""The official clients of the gateway's surfaces, and what engines answer them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import openai

from tests.support.gateway import KEY, Front
from tests.support.gateway_engine import END, Exchange, Script, answer, chunk, last_chunk

CALLS = [("call-1", "get_weather", '{"city":"Pa', 'ris"}'), ("call-2", "get_time", '{"zone":', '"UTC"}')]
# What they are in Python.
CALLED = [("call-1", "get_weather", {"city": "Paris"}), ("call-2", "get_time", {"zone": "UTC"})]


@asynccontextmanager
async def openai_client(front: Front, key: str = KEY) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@asynccontextmanager
async def anthropic_client(front: Front, key: str = KEY) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=front.url, api_key=key, max_retries=0) as client:
        yield client


async def tool_calls(exchange: Exchange) -> None:
    """A text and two calls, as vLLM's parsers of tool calls send them."""
    if not exchange.json.get("stream"):
        whole = answer("Let me see.")
        message = whole["choices"][0]["message"]
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": begin + end}}
            for call_id, name, begin, end in CALLS
        ]
        whole["choices"][0]["finish_reason"] = "tool_calls"
        await exchange.send_json(whole)
        return
    events = [chunk("", role="assistant"), chunk("Let me see.", done=1)]
    done = 1
    for index, (call_id, name, begin, end) in enumerate(CALLS):
        first = {"id": call_id, "type": "function", "function": {"name": name, "arguments": begin}}
        for delta in (first, {"function": {"arguments": end}}):
            done += 1
            events.append(chunk(done=done, tool_calls=[{"index": index, **delta}]))
    events.append(chunk(done=done, finish="tool_calls"))
    await exchange.stream([*events, last_chunk(done), END])


async def reasoning(exchange: Exchange) -> None:
    if not exchange.json.get("stream"):
        whole = answer("Four.")
        whole["choices"][0]["message"]["reasoning"] = "Two and two."
        await exchange.send_json(whole)
        return
    events = [
        chunk("", role="assistant"),
        chunk(reasoning="Two and ", done=1),
        chunk(reasoning="two.", done=2),
        chunk("Four.", done=3),
        chunk("", done=4, finish="stop"),
    ]
    await exchange.stream([*events, last_chunk(4), END])


async def breaks_off(exchange: Exchange) -> None:
    """After one token of a stream."""
    await exchange.start_stream()
    for one in (chunk("", role="assistant"), chunk("one", done=1)):
        await exchange.piece(one)
    exchange.break_off()


def ending(finish: str, stop_reason: str | int | None = None, content: str = "cut") -> Script:
    """An answer that ends in this way."""

    async def script(exchange: Exchange) -> None:
        if not exchange.json.get("stream"):
            whole = answer(content)
            whole["choices"][0] |= {"finish_reason": finish, "stop_reason": stop_reason}
            await exchange.send_json(whole)
            return
        last = chunk("", done=2, finish=finish)
        if stop_reason is not None:
            text = str(stop_reason).encode()
            quoted = b'"' + text + b'"' if isinstance(stop_reason, str) else text
            last = last.replace(b'"finish_reason"', b'"stop_reason":' + quoted + b',"finish_reason"')
        await exchange.stream([chunk("", role="assistant"), chunk(content, done=1), last, last_chunk(2), END])

    return script
