"""A scripted agent as a program of its own, so that it can live in a network namespace.

Arguments: database URL, the authority's directory, the address to listen on. Prints its id once enrolled.
"""

import asyncio
import sys
from pathlib import Path

from control_plane.enrolment import Authority
from control_plane.store import Store
from tests.support.fleet import enrol, new_scripted_agent

# Long enough for any test, short enough to be no lasting leftover of a killed one.
LIFE_S = 100.0


async def main(database_url: str, authority: Path, address: str) -> None:
    store = Store(database_url)
    async with new_scripted_agent(Authority.load(authority), address) as agent:
        await enrol(store, agent)
        print(agent.agent_id, flush=True)
        await asyncio.sleep(LIFE_S)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
