"""Agents of the product's own wire, many in one process, for benchmarks.fleet.

    python -m benchmarks.crowd DATA_DIRECTORY COUNT SECONDS_BETWEEN_SAMPLES

Enrols them, prints "connected" once each has sent a sample, and answers a line on standard input with one
JSON object: after "count" samples sent so far, by agent; after "end" the same, and no more are sent.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path

from benchmarks.agent import MODEL_ID
from control_plane.catalogue import Catalogue
from control_plane.config import DataDirectory, load_settings
from control_plane.enrolment import Authority
from control_plane.store import Store
from tests.support.fleet_crowd import SamplingAgent, crowd, enrol_all

# For samples that are in the transport's hands.
ARRIVE_S = 1.0


async def run(data: Path, count: int, every_s: float) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    authority = Authority.load(DataDirectory(data).authority)
    entry = Catalogue.load().get(MODEL_ID)
    assert entry is not None
    async with crowd(count, authority, entry, every_s) as (agents, engine_port):
        store = Store(load_settings(data).database_url)
        await store.write(
            lambda session: enrol_all(session, agents, engine_port=engine_port, model_id=MODEL_ID)
        )
        store.close()
        await asyncio.gather(*(agent.first_sent.wait() for agent in agents))
        print("connected", flush=True)
        while (line := (await asyncio.to_thread(sys.stdin.readline)).strip()) in ("count", "end"):
            if line == "end":
                for agent in agents:
                    agent.behaviour.silent = True
                await asyncio.sleep(ARRIVE_S)
            print(json.dumps(_sent(agents)), flush=True)


def _sent(agents: list[SamplingAgent]) -> dict[str, int]:
    return {agent.agent_id: agent.sent_count for agent in agents}


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
