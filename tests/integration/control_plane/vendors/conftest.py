import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.support.vendor_tls import ServerTls, make_tls


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """TLS is each loop's own: the product runs on uvloop, and nothing may depend on that."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def tls(tmp_path: Path) -> ServerTls:
    return make_tls(tmp_path / "tls", "localhost")
