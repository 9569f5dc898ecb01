"""The fake vendor is held to what OpenAI's own client expects of one."""

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.support.vendor import COMPLETION_TOKENS, KEY, MODEL, PROMPT_TOKENS, WORDS, fake_vendor
from tests.support.vendor_tls import ServerTls

HI: Any = [{"role": "user", "content": "hi"}]
USAGE = (PROMPT_TOKENS, COMPLETION_TOKENS, PROMPT_TOKENS + COMPLETION_TOKENS)


@asynccontextmanager
async def client_of(port: int, tls: ServerTls, key: str = KEY) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(verify=ssl.create_default_context(cafile=tls.ca), trust_env=False)
    url = f"https://localhost:{port}/v1"
    async with openai.AsyncOpenAI(api_key=key, base_url=url, http_client=http, max_retries=0) as client:
        yield client


def figures(usage: Any) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


async def test_a_whole_answer_is_one_for_the_official_client(tls: ServerTls) -> None:
    async with fake_vendor(tls=tls) as vendor, client_of(vendor.port, tls) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HI, max_tokens=5)
        assert answer.choices[0].message.content == "".join(WORDS)
        assert figures(answer.usage) == USAGE


async def test_usage_comes_in_a_chunk_of_its_own_and_only_where_it_was_asked_for(tls: ServerTls) -> None:
    async with fake_vendor(tls=tls) as vendor, client_of(vendor.port, tls) as client:
        plain = [chunk async for chunk in await client.chat.completions.create(
            model=MODEL, messages=HI, stream=True
        )]  # fmt: skip
        asked = [chunk async for chunk in await client.chat.completions.create(
            model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
        )]  # fmt: skip
    for chunks in (plain, asked[:-1]):
        assert [chunk.choices[0].delta.content or "" for chunk in chunks] == ["", *WORDS, ""]
        assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
        assert chunks[-1].choices[0].finish_reason == "stop"
    assert asked[-1].choices == []
    assert figures(asked[-1].usage) == USAGE


@pytest.mark.parametrize("model", ["crlf", "comments", "pretty", "no-usage", "no-end"])
async def test_odd_streams_are_still_streams_for_the_official_client(tls: ServerTls, model: str) -> None:
    async with fake_vendor(tls=tls) as vendor, client_of(vendor.port, tls) as client:
        stream = await client.chat.completions.create(model=model, messages=HI, stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(texts) == "".join(WORDS)


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("refuse-400", openai.BadRequestError),
        ("refuse-401", openai.AuthenticationError),
        ("refuse-429", openai.RateLimitError),
        ("refuse-500", openai.InternalServerError),
        ("unheard-of", openai.NotFoundError),
    ],
)
async def test_refusals_are_what_the_official_client_takes_them_for(
    tls: ServerTls, model: str, error: type[openai.APIStatusError]
) -> None:
    async with fake_vendor(tls=tls) as vendor, client_of(vendor.port, tls) as client:
        with pytest.raises(error):
            await client.chat.completions.create(model=model, messages=HI)


async def test_an_error_inside_a_stream_is_one_for_the_official_client(tls: ServerTls) -> None:
    async with fake_vendor(tls=tls) as vendor, client_of(vendor.port, tls) as client:
        stream = await client.chat.completions.create(model="error-in-stream", messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="overloaded"):
            [chunk async for chunk in stream]


async def test_wrong_keys_and_unknown_fields_are_refused_as_vendors_do(tls: ServerTls) -> None:
    async with fake_vendor(tls=tls) as vendor:
        async with client_of(vendor.port, tls, "sk-wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model=MODEL, messages=HI)
        async with client_of(vendor.port, tls) as client:
            with pytest.raises(openai.BadRequestError, match="Unrecognized request argument supplied: top_k"):
                await client.chat.completions.create(model=MODEL, messages=HI, extra_body={"top_k": 3})


async def test_it_counts_connections_and_requests(tls: ServerTls) -> None:
    async with fake_vendor(tls=tls) as vendor, client_of(vendor.port, tls) as client:
        for _ in range(3):
            await client.chat.completions.create(model=MODEL, messages=HI)
        assert (vendor.connections, len(vendor.received)) == (1, 3)


async def test_it_runs_as_a_program_and_keeps_a_record(tls: ServerTls, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    command = [sys.executable, "-m", "tests.support.vendor", "--listen", "127.0.0.1:0"]
    files = ["--certificate", str(tls.certificate), "--key", str(tls.key), "--record", str(record)]
    program = await asyncio.create_subprocess_exec(*command, *files, stdout=subprocess.PIPE)
    try:
        assert program.stdout is not None
        said = await program.stdout.readline()
        assert said.startswith(b"listening on port ")
        async with client_of(int(said.split()[-1]), tls) as client:
            answer = await client.chat.completions.create(model=MODEL, messages=HI)
            assert answer.choices[0].message.content == "".join(WORDS)
    finally:
        program.terminate()
        await program.wait()
    assert program.returncode == 0
    [line] = map(json.loads, record.read_text().splitlines())
    assert (line["connections"], line["path"]) == (1, "/v1/chat/completions")
    assert json.loads(line["body"])["model"] == MODEL
