"""An agent that one authority has enrolled, serving on loopback."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.rpc import Authority, RunningAgent, enrolled_state, running_agent


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def agent(tmp_path: Path, authority: Authority) -> AsyncIterator[RunningAgent]:
    async with running_agent(enrolled_state(tmp_path / "state", authority), authority) as running:
        yield running
