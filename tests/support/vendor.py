"""A commercial vendor for tests: HTTPS, OpenAI's chat completions, and every way of not answering them.

It stands in for vendors, which tests must not call; a contract test holds it to what OpenAI's own client
expects. The model that is asked for decides what happens: MODEL is answered, the others are in BEHAVIOURS.
As a program, for a host of a lab:

    python -m tests.support.vendor --listen ADDRESS:PORT --certificate PEM --key PEM [--record FILE]
"""

import argparse
import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from control_plane.vendors import Vendors, load_vendors
from tests.support.gateway_engine import Exchange, Script, ScriptedEngine, scripted_engine
from tests.support.vendor_tls import ServerTls

KEY = "sk-of-the-fake-vendor"
MODEL = "their/small"
WORDS = ("Hello", " from", " a", " vendor")
PROMPT_TOKENS = 21
# One more than words: the end token.
COMPLETION_TOKENS = len(WORDS) + 1
PATH = "/v1/chat/completions"

# What OpenAI documents; vendors refuse the rest, as a real one would.
_FIELDS = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature",
        "top_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
        "reasoning_effort", "parallel_tool_calls", "tools", "tool_choice", "response_format",
    }
)  # fmt: skip
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "prompt_tokens_details": {"cached_tokens": 0},
}


def fake_vendor(
    *scripts: Script, tls: ServerTls | None, listen: tuple[str, int] = ("127.0.0.1", 0)
) -> AbstractAsyncContextManager[ScriptedEngine]:
    """`scripts` come before what a vendor does. No TLS: plain HTTP."""
    context = None if tls is None else tls.context()
    return scripted_engine(*scripts, otherwise=as_asked, listen=listen, tls=context)


def configured(directory: Path, url: str, ca: Path | None, extra: str = "", **models: str) -> Vendors:
    """The vendor "fake", read from a file as an operator writes it: under served names the vendor's own, by
    default one for each behaviour. A token costs 2 micro-USD, one of the answer 5."""
    directory.mkdir(parents=True, exist_ok=True)
    key = directory / "vendor.key"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    text = f'[[vendor]]\nname = "fake"\nbase_url = "{url}"\nkey_file = "vendor.key"\n{extra}\n'
    if ca is not None:
        text += f'ca_file = "{ca}"\n'
    for served, name in (models or {each: each for each in BEHAVIOURS}).items():
        text += (
            f'[[vendor.model]]\nserved_name = "{served}"\nvendors_name = "{name}"\ncontext_tokens = 4096\n'
        )
        text += "max_output_tokens = 512\n"
        text += "input_micro_usd_per_mtok = 2_000_000\noutput_micro_usd_per_mtok = 5_000_000\n"
    path = directory / "vendors.toml"
    path.write_text(text)
    return load_vendors(path, default=path)


async def as_asked(exchange: Exchange) -> None:
    """What a vendor does with a request."""
    if exchange.headers.get("authorization") != f"Bearer {KEY}":
        await exchange.send_json(_error("Incorrect API key provided: sk-of***dor", "invalid_api_key"), 401)
    elif (exchange.method, exchange.path) != ("POST", PATH):
        await exchange.send_json(_error(f"Invalid URL ({exchange.method} {exchange.path})", None), 404)
    elif unknown := sorted(exchange.json.keys() - _FIELDS):
        await exchange.send_json(_error(f"Unrecognized request argument supplied: {unknown[0]}", None), 400)
    elif (behaviour := BEHAVIOURS.get(exchange.json["model"])) is None:
        await exchange.send_json(_error("The model does not exist", "model_not_found"), 404)
    else:
        await behaviour(exchange)


async def _answer(exchange: Exchange) -> None:
    if exchange.json.get("stream"):
        await exchange.stream(_events(exchange))
    else:
        await exchange.send_json(_whole())


def _in_form(change: Callable[[bytes], bytes]) -> Script:
    """Answers with a stream whose events were changed."""

    async def answer(exchange: Exchange) -> None:
        await exchange.stream([change(one) for one in _events(exchange)])

    return answer


def _some_of(keep: Callable[[bytes], bool]) -> Script:
    """Answers with a stream that lacks some events."""

    async def answer(exchange: Exchange) -> None:
        await exchange.stream([one for one in _events(exchange) if keep(one)])

    return answer


def _refuse(status: int, message: str) -> Script:
    async def answer(exchange: Exchange) -> None:
        await exchange.send_json(_error(message, None), status)

    return answer


async def _redirect(exchange: Exchange) -> None:
    where = f"https://{exchange.headers['host']}/v1/elsewhere"
    await exchange.raw(f"HTTP/1.1 307 X\r\nlocation: {where}\r\ncontent-length: 0\r\n\r\n".encode())


async def _begin(exchange: Exchange) -> None:
    await exchange.start_stream()
    for one in _events(exchange)[:3]:
        await exchange.piece(one)


async def _stall(exchange: Exchange) -> None:
    """Two words, then silence until the other side hangs up."""
    await _begin(exchange)
    await exchange.hung_up.wait()


async def _say_nothing(exchange: Exchange) -> None:
    await exchange.hung_up.wait()


async def _break_off(exchange: Exchange) -> None:
    await _begin(exchange)
    exchange.break_off()


async def _report_an_error(exchange: Exchange) -> None:
    """A 200 that turns out to be none."""
    await exchange.stream([b"data: " + json.dumps(_error("overloaded", "overloaded")).encode() + b"\n\n"])


async def _close_after(exchange: Exchange) -> None:
    """Answers, and closes the connection without having said so."""
    await _answer(exchange)
    exchange.keep_open = False


def _pretty(event: bytes) -> bytes:
    data = event.removeprefix(b"data: ").strip()
    if data == b"[DONE]":
        return event
    text = json.dumps(json.loads(data), indent=2)
    return b"".join(b"data: " + line.encode() + b"\n" for line in text.split("\n")) + b"\n"


BEHAVIOURS: dict[str, Script] = {
    MODEL: _answer,
    "crlf": _in_form(lambda event: event.replace(b"\n", b"\r\n")),
    "pretty": _in_form(_pretty),
    "comments": _in_form(lambda event: b": PROCESSING\n\n" + event),
    "no-usage": _some_of(lambda event: b'"choices": []' not in event),
    "greedy": _in_form(
        lambda event: event.replace(b'"completion_tokens": 5', b'"completion_tokens": 500000')
    ),
    "no-end": _some_of(lambda event: b"[DONE]" not in event),
    "redirect": _redirect,
    "stall": _stall,
    "silent": _say_nothing,
    "break": _break_off,
    "error-in-stream": _report_an_error,
    "close-after": _close_after,
    "refuse-400": _refuse(400, "'max_tokens' is too large"),
    "refuse-401": _refuse(401, "Incorrect API key provided"),
    "refuse-429": _refuse(429, "Rate limit reached for organization org-77"),
    "refuse-500": _refuse(500, "The server had an error"),
}


def _events(exchange: Exchange) -> list[bytes]:
    """As OpenAI streams them: with usage asked for, `usage` is null in all chunks but an extra last one."""
    asked = (exchange.json.get("stream_options") or {}).get("include_usage")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": word} for word in WORDS]
    chunks = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    chunks.append(_chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if asked:
        chunks = [{**each, "usage": None} for each in chunks] + [{**_chunk([]), "usage": _USAGE}]
    return [*(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks), b"data: [DONE]\n\n"]


def _chunk(choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-v",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "their/small-2026",
        "choices": choices,
    }


def _whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    # Over several lines, as many vendors send it.
    return json.dumps({**_chunk([choice]), "object": "chat.completion", "usage": _USAGE}, indent=2).encode()


def _error(message: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def main() -> None:
    """Until SIGTERM. Says where it listens on standard output, once it does."""
    parser = argparse.ArgumentParser(description="a vendor for tests")
    parser.add_argument("--listen", type=_address, required=True, help="port 0: any")
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--record", type=Path, help="gets one JSON object a line for each request")
    arguments = parser.parse_args()
    tls = ServerTls(arguments.certificate, arguments.certificate, arguments.key)
    asyncio.run(_run(arguments.listen, tls, arguments.record))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def _run(listen: tuple[str, int], tls: ServerTls, record: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with fake_vendor(tls=tls, listen=listen) as vendor:
        if record is not None:
            vendor.otherwise = _recorded(vendor, record)
        print(f"listening on port {vendor.port}", flush=True)
        await stop.wait()


def _recorded(vendor: ScriptedEngine, record: Path) -> Script:
    async def answer(exchange: Exchange) -> None:
        line = {
            # So many have been made up to here.
            "connections": vendor.connections,
            "path": exchange.path,
            "headers": exchange.headers,
            "body": exchange.body.decode(),
        }
        with record.open("a") as file:
            file.write(json.dumps(line) + "\n")
        await as_asked(exchange)

    return answer


if __name__ == "__main__":
    main()
