"""One request that an ASGI application answers, on our own protocol: uvicorn's cycle, fed by us."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from control_plane.api.flow import Flow
from control_plane.gateway import RequestHead, Wire

logger = logging.getLogger(__name__)


class AsgiExchange:
    """Told by its connection what comes: feed(), feed_end(), lost()."""

    def __init__(
        self,
        config: Config,
        head: RequestHead,
        url: Any,
        transport: asyncio.Transport,
        flow: Flow,
        wire: Wire,
        *,
        keep_alive: bool,
    ) -> None:
        self._application = config.loaded_app
        self._flow = flow
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": config.asgi_version, "spec_version": "2.3"},
            "http_version": "1.0" if head.http_1_0 else "1.1",
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "scheme": "https" if is_ssl(transport) else "http",
            "root_path": "",
            "headers": list(head.headers),
            "state": {},
            "method": head.method,
            "path": head.path,
            "raw_path": url.path,
            "query_string": url.query or b"",
        }
        self._cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]  # uvicorn's own type of the same
            transport=transport,
            flow=flow,  # type: ignore[arg-type]  # all of it that a cycle uses
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=list(wire.common_headers()),
            message_event=asyncio.Event(),
            expect_100_continue=head.expects_continue,
            keep_alive=keep_alive,
            on_response=wire.on_answered,
        )

    @property
    def answered(self) -> bool:
        return self._cycle.response_complete

    @property
    def keep_alive(self) -> bool:
        return self._cycle.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._cycle.keep_alive = value

    def run(self) -> Coroutine[Any, Any, None]:
        return self._cycle.run_asgi(self._application)

    def feed(self, data: bytes) -> None:
        cycle = self._cycle
        cycle.body += data
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self._flow.pause_reading()
        cycle.message_event.set()

    def feed_end(self) -> None:
        self._cycle.more_body = False
        self._cycle.message_event.set()

    def lost(self) -> None:
        if not self._cycle.response_complete:
            self._cycle.disconnected = True
        self._cycle.message_event.set()
