"""The consumer's guide, its Python run as one program against a gateway with a pool of scripted engines."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.store import Store
from tests.support.gateway import OTHER_KEY
from tests.support.guide import DOCS, assert_printed, blocks
from tests.support.market_front import market

PAGE = DOCS / "consumer.md"
PROGRAM_TIMEOUT_S = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")
    store.migrate()
    yield store
    store.close()


async def test_the_guides_python_works_and_prints_what_the_guide_says(store: Store) -> None:
    program = "\n".join(blocks(PAGE, "python"))
    async with market(store) as here:
        environment = os.environ | {"OPENAI_BASE_URL": f"{here.front.url}/v1", "OPENAI_API_KEY": OTHER_KEY}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", program,
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PROGRAM_TIMEOUT_S):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert_printed(out.decode(), blocks(PAGE, "text", mark="prints"))


def test_a_page_that_tells_something_else_is_found_out() -> None:
    assert_printed("id call-1\nend\n", ["id …\n", "end\n"])
    with pytest.raises(AssertionError, match="the page says"):
        assert_printed("id call-1\nend\n", ["id …\n", "ended\n"])
    with pytest.raises(AssertionError, match="the page says"):
        assert_printed("id \n", ["id …\n"])
