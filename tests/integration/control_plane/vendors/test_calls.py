"""Calls to a vendor over real TLS: pool, request, meter and refusals together, against the fake vendor."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from control_plane.economy import Tokens
from control_plane.gateway import Limits
from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.reading import AttemptFailed
from control_plane.gateway.request import CHAT_COMPLETIONS, read_request
from control_plane.gateway.vendor_answer import VendorRefusals
from control_plane.gateway.vendor_metering import Estimate, VendorMeter, tokens_of_answer
from control_plane.gateway.vendor_pool import SocketAddress, VendorPool
from control_plane.gateway.vendor_request import for_vendor, http_post
from control_plane.vendors import Vendor, Vendors
from tests.support.gateway_engine import Exchange, ScriptedEngine
from tests.support.vendor import COMPLETION_TOKENS, KEY, MODEL, PROMPT_TOKENS, WORDS, configured, fake_vendor
from tests.support.vendor_tls import ServerTls, make_tls

TEXT = "".join(WORDS)
BILLED = Tokens(PROMPT_TOKENS, COMPLETION_TOKENS)
ESTIMATE = Estimate(prompt_tokens=7, most_completion_tokens=64)
GONE = UpstreamFailed(Fault.CLIENT_GONE, "the client went away")


@dataclass
class Site:
    """A vendor that serves, its configuration, and a pool."""

    server: ScriptedEngine
    vendor: Vendor
    pool: VendorPool

    async def begin(self, model: str = MODEL, *, stream: bool = True, fresh: bool = False) -> Connection:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        request = read_request(CHAT_COMPLETIONS, json.dumps({**body, "top_k": 3, "user": "eve"}).encode())
        raw = for_vendor(request, self.vendor.models[model], max_tokens=64)
        connection = await self.pool.acquire(self.vendor, fresh=fresh)
        connection.begin(http_post(self.vendor, CHAT_COMPLETIONS, raw, streamed=stream))
        await connection.headers(self.vendor.waits.first_content_s)
        return connection

    async def streamed(self, model: str = MODEL, **options: Any) -> tuple[str, VendorMeter]:
        """One whole streamed call."""
        connection = await self.begin(model, **options)
        assert connection.status == 200
        meter = new_meter()
        out = b""
        while not meter.done and meter.error is None:
            data = await connection.read(self.vendor.waits.stream_gap_s)
            out += meter.feed(data)
            meter.mark_delivered()
            if not data and not meter.done:
                raise UpstreamFailed(Fault.LOST, "no end")
        connection.release()
        return text_of(out), meter

    async def until_closed(self) -> None:
        """Until no connection is open."""
        async with asyncio.timeout(5):
            while self.pool.open_count:
                self.pool.sweep()
                await asyncio.sleep(0.01)


def new_meter() -> VendorMeter:
    return VendorMeter(choices=1, keep_usage=False, max_event_bytes=100_000, estimate=ESTIMATE)


def text_of(out: bytes) -> str:
    chunks = [json.loads(one.removeprefix(b"data: ")) for one in out.split(b"\n\n")[:-1]]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@asynccontextmanager
async def site(
    directory: Path, tls: ServerTls, *, ca: Path | None = None, extra: str = "", **pool: Any
) -> AsyncIterator[Site]:
    async with fake_vendor(tls=tls) as server:
        vendors = configured(directory, f"https://localhost:{server.port}/v1", ca or tls.ca, extra)
        made = VendorPool(vendors, Limits(), **pool)
        try:
            yield Site(server, vendors.all[0], made)
        finally:
            made.close()


async def failure(pool: VendorPool, vendor: Vendor) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as caught:
        await pool.acquire(vendor)
    assert KEY not in caught.value.words
    return caught.value


async def test_a_streamed_call_is_answered_and_billed_by_the_vendors_word(
    tmp_path: Path, tls: ServerTls
) -> None:
    async with site(tmp_path, tls) as here:
        text, meter = await here.streamed()
        assert (text, meter.generated, meter.delivered.prompt) == (TEXT, BILLED, PROMPT_TOKENS)
        [exchange] = here.server.received
        assert exchange.json == {
            "model": MODEL,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 64,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        assert exchange.headers["authorization"] == f"Bearer {KEY}"
        assert exchange.headers["host"] == f"localhost:{here.server.port}"


async def test_a_whole_answer_is_billed_by_the_vendors_word(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls) as here:
        connection = await here.begin(stream=False)
        body = await connection.read_whole(5, 100_000)
        connection.release()
        assert tokens_of_answer(body, ESTIMATE) == (BILLED, None)


@pytest.mark.parametrize("model", ["crlf", "pretty", "comments", "no-end"])
async def test_odd_streams_are_answered_and_billed_alike(tmp_path: Path, tls: ServerTls, model: str) -> None:
    async with site(tmp_path, tls) as here:
        text, meter = await here.streamed(model)
        assert (text, meter.generated) == (TEXT, BILLED)


async def test_a_stream_without_usage_is_billed_by_an_estimate(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls) as here:
        text, meter = await here.streamed("no-usage")
        assert text == TEXT
        assert meter.generated == Tokens(7, -(-len(TEXT) // 4))


async def test_an_error_inside_a_200_is_found(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls) as here:
        text, meter = await here.streamed("error-in-stream")
        assert (text, meter.content) == ("", False)
        assert meter.error is not None
        assert meter.error["message"] == "overloaded"


@pytest.mark.parametrize(
    ("model", "code"),
    [("redirect", "vendor_redirect"), ("refuse-401", "vendor_401"), ("refuse-429", "vendor_429"),
     ("refuse-500", "vendor_500")],
)  # fmt: skip
async def test_refusals_and_redirects_are_failed_attempts_and_nothing_is_followed(
    tmp_path: Path, tls: ServerTls, model: str, code: str
) -> None:
    async with site(tmp_path, tls) as here:
        connection = await here.begin(model)
        body = await connection.read_whole(5, 100_000)
        failed = VendorRefusals(here.vendor).in_answer(connection.status, body)
        connection.release()
        assert isinstance(failed, AttemptFailed)
        assert failed.code == code
        # The connection is good for the next call, and that is the second request there ever was.
        assert (await here.streamed())[0] == TEXT
        assert (here.server.connections, len(here.server.received)) == (1, 2)


async def test_an_authority_that_is_not_the_configured_one_is_refused(tmp_path: Path, tls: ServerTls) -> None:
    other = make_tls(tmp_path / "other", "localhost")
    async with site(tmp_path, tls, ca=other.ca) as here:
        failed = await failure(here.pool, here.vendor)
        assert failed.fault is Fault.CERTIFICATE
        assert failed.words.startswith("the vendor fake did not prove to be localhost: ")
        assert (here.server.received, here.pool.open_count) == ([], 0)


async def test_without_a_file_of_its_own_a_vendor_must_satisfy_the_systems_authorities(
    tmp_path: Path, tls: ServerTls
) -> None:
    async with fake_vendor(tls=tls) as server:
        vendors = configured(tmp_path, f"https://localhost:{server.port}/v1", None)
        failed = await failure(VendorPool(vendors, Limits()), vendors.all[0])
        assert failed.fault is Fault.CERTIFICATE
        assert server.received == []


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path, make_tls(tmp_path / "tls", "elsewhere.example", "127.0.0.1")) as here:
        failed = await failure(here.pool, here.vendor)
        assert failed.fault is Fault.CERTIFICATE
        assert "localhost" in failed.words
        assert here.server.received == []


async def test_a_vendor_may_be_named_by_its_address(tmp_path: Path) -> None:
    tls = make_tls(tmp_path / "tls", "127.0.0.1")
    async with fake_vendor(tls=tls) as server:
        vendors = configured(tmp_path, f"https://127.0.0.1:{server.port}/v1", tls.ca)
        with closing(VendorPool(vendors, Limits())) as pool:
            assert (await Site(server, vendors.all[0], pool).streamed())[0] == TEXT


async def test_plain_http_serves_on_loopback(tmp_path: Path) -> None:
    async with fake_vendor(tls=None) as server:
        vendors = configured(tmp_path, f"http://localhost:{server.port}/v1", None)
        with closing(VendorPool(vendors, Limits())) as pool:
            assert (await Site(server, vendors.all[0], pool).streamed())[0] == TEXT


async def test_a_vendor_that_speaks_no_tls_is_a_failed_connection(tmp_path: Path, tls: ServerTls) -> None:
    async with fake_vendor(tls=None) as server:
        vendors = configured(tmp_path, f"https://localhost:{server.port}/v1", tls.ca, "connect_s = 0.3")
        failed = await failure(VendorPool(vendors, Limits()), vendors.all[0])
        assert failed.fault is Fault.CONNECT
        assert server.received == []


async def test_a_proxy_of_the_environment_is_not_used(
    tmp_path: Path, tls: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        # Nobody listens there.
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with site(tmp_path, tls) as here:
        assert (await here.streamed())[0] == TEXT


async def test_a_name_that_does_not_resolve_says_so(tmp_path: Path, tls: ServerTls) -> None:
    async def resolve(host: str, port: int) -> Sequence[SocketAddress]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with site(tmp_path, tls, resolve=resolve) as here:
        failed = await failure(here.pool, here.vendor)
        assert failed.fault is Fault.CONNECT
        assert failed.words == "the vendor fake's name cannot be resolved: Name or service not known"


async def test_a_name_that_takes_too_long_to_resolve_ends_in_time(tmp_path: Path, tls: ServerTls) -> None:
    async def resolve(host: str, port: int) -> Sequence[SocketAddress]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with site(tmp_path, tls, extra="connect_s = 0.1", resolve=resolve) as here:
        failed = await failure(here.pool, here.vendor)
        assert failed.words == "the vendor fake's name could not be resolved within 0.1 s"


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full, so that another one gets no answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for one in waiting:
            one.close()


async def test_a_vendor_that_does_not_answer_is_given_up_in_time(
    tmp_path: Path, tls: ServerTls, deaf_port: int
) -> None:
    vendors = configured(tmp_path, f"https://127.0.0.1:{deaf_port}/v1", tls.ca, "connect_s = 0.3")
    pool = VendorPool(vendors, Limits())
    failed = await failure(pool, vendors.all[0])
    assert failed.fault is Fault.CONNECT
    assert failed.words == "the vendor fake did not answer within 0.3 s"
    assert pool.open_count == 0


async def test_a_vendor_that_never_ends_its_handshake_is_given_up_in_time(
    tmp_path: Path, tls: ServerTls
) -> None:
    # The kernel takes the connection, nobody reads from it.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        vendors = configured(tmp_path, url, tls.ca, "connect_s = 0.3")
        failed = await failure(VendorPool(vendors, Limits()), vendors.all[0])
        assert failed.words == "the vendor fake did not answer within 0.3 s"


async def test_every_address_is_tried_and_a_silent_one_leaves_time_for_the_others(
    tmp_path: Path, tls: ServerTls, deaf_port: int
) -> None:
    async def resolve(host: str, configured_port: int) -> Sequence[SocketAddress]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            closed = probe.getsockname()
        found = [("127.0.0.1", deaf_port), closed, ("127.0.0.1", configured_port)]
        return [(socket.AF_INET, each) for each in found]

    async with site(tmp_path, tls, extra="connect_s = 1", resolve=resolve) as here:
        assert (await here.streamed())[0] == TEXT


async def test_plain_http_never_leaves_loopback_whatever_the_name_resolves_to(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> Sequence[SocketAddress]:
        return [(socket.AF_INET, ("192.0.2.1", port))]

    vendors = configured(tmp_path, "http://localhost:9/v1", None)
    failed = await failure(VendorPool(vendors, Limits(), resolve), vendors.all[0])
    assert failed.words == "the vendor fake's name has no address that may be used"


async def test_connections_are_kept_and_used_again(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls) as here:
        for _ in range(3):
            await here.streamed()
        assert (here.server.connections, len(here.server.received), here.pool.open_count) == (1, 3, 1)
        await here.streamed(fresh=True)
        assert here.server.connections == 2


async def test_unused_connections_are_closed_in_time(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls, extra="idle_connection_s = 0.05") as here:
        await here.streamed()
        await here.until_closed()
        await here.streamed()
        assert here.server.connections == 2


async def test_a_kept_connection_that_the_vendor_closed_is_not_used_again(
    tmp_path: Path, tls: ServerTls
) -> None:
    async with site(tmp_path, tls) as here:
        await here.streamed("close-after")
        await here.until_closed()
        assert (await here.streamed())[0] == TEXT
        assert here.server.connections == 2


async def test_a_kept_connection_that_is_closed_while_it_is_taken_is_told_from_a_vendor_that_failed(
    tmp_path: Path, tls: ServerTls
) -> None:
    async def hang_up(exchange: Exchange) -> None:
        exchange.break_off()

    async with site(tmp_path, tls) as here:
        await here.streamed()
        here.server.scripts.append(hang_up)
        connection = await here.pool.acquire(here.vendor)
        connection.begin(http_post(here.vendor, CHAT_COMPLETIONS, b"{}", streamed=False))
        with pytest.raises(UpstreamFailed, match="the connection to the vendor fake was lost") as caught:
            await connection.headers(5)
        # What the core of a call tries again on a fresh connection.
        assert (caught.value.fault, connection.exchanges, connection.answered) == (Fault.LOST, 1, False)
        assert (await here.streamed(fresh=True))[0] == TEXT


async def test_no_more_connections_than_configured_are_opened_not_even_in_a_burst(
    tmp_path: Path, tls: ServerTls
) -> None:
    async with site(tmp_path, tls, extra="connections = 3") as here:
        results = await asyncio.gather(
            *(here.pool.acquire(here.vendor) for _ in range(10)), return_exceptions=True
        )
        refused = [each for each in results if isinstance(each, UpstreamFailed)]
        assert len(refused) == 7
        assert {each.words for each in refused} == {"too many connections to the vendor fake are open"}
        assert {each.fault for each in refused} == {Fault.BUSY}
        assert here.pool.open_count == 3
        # What failed holds no place.
        for each in results:
            if isinstance(each, Connection):
                each.abort(GONE, each.lease)
        await here.until_closed()
        assert (await here.streamed())[0] == TEXT


async def test_a_client_that_goes_away_ends_the_vendors_work_and_pays_what_it_got(
    tmp_path: Path, tls: ServerTls
) -> None:
    async with site(tmp_path, tls) as here:
        connection = await here.begin("stall")
        lease, meter, out = connection.lease, new_meter(), b""
        while text_of(out) != "".join(WORDS[:2]):
            out += meter.feed(await connection.read(5))
        meter.mark_delivered()
        reading = asyncio.create_task(connection.read(60))
        await asyncio.sleep(0)
        connection.abort(GONE, lease)
        with pytest.raises(UpstreamFailed, match="the client went away"):
            await reading
        async with asyncio.timeout(1):
            await here.server.received[0].hung_up.wait()
        assert meter.delivered == Tokens(7, 3)


async def test_a_vendor_that_falls_silent_is_given_up_in_time(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls, extra="first_content_s = 0.1\nstream_gap_s = 0.1") as here:
        with pytest.raises(UpstreamFailed, match="the vendor fake sent nothing for too long"):
            await here.streamed("silent")
        with pytest.raises(UpstreamFailed, match="the vendor fake sent nothing for too long"):
            await here.streamed("stall")


async def test_a_stream_that_breaks_off_is_lost(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls) as here:
        with pytest.raises(UpstreamFailed, match="the connection to the vendor fake was lost"):
            await here.streamed("break")


async def test_one_vendors_connections_are_not_anothers(tmp_path: Path, tls: ServerTls) -> None:
    async with site(tmp_path, tls) as here:
        twin = replace(here.vendor, name="twin")
        with closing(VendorPool(Vendors((here.vendor, twin)), Limits())) as pool:
            for vendor in (here.vendor, twin):
                await Site(here.server, vendor, pool).streamed()
        assert here.server.connections == 2


async def test_no_key_is_ever_logged(
    tmp_path: Path, tls: ServerTls, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with site(tmp_path, tls) as here:
        await here.streamed()
        await here.begin("refuse-401")
        with pytest.raises(UpstreamFailed):
            await here.streamed("break")
    assert KEY not in caplog.text
