"""A hundred agents at once, each with its own certificate and address: none is lost, and no sample of any."""

from pathlib import Path

from control_plane.catalogue import Catalogue
from control_plane.fleet import Fleet, Liveness
from control_plane.fleet.telemetry import Recorder
from control_plane.identifiers import AgentId
from control_plane.store import Store, unix_ms
from tests.support.fleet import TICKET_SECRET, eventually, running
from tests.support.fleet_authority import ShortLivedAuthority
from tests.support.fleet_crowd import NUMBERED_READING, SamplingAgent, crowd, enrol_all
from tests.support.telemetry import history

AGENTS = 100
SAMPLES = 5
EVERY_S = 0.5
MODEL_ID = "smollm2-135m-instruct"
MINUTE_MS = 60_000


async def test_a_hundred_agents_are_live_and_every_sample_of_each_is_kept_once_and_in_order(
    store: Store, authority: ShortLivedAuthority, tmp_path: Path
) -> None:
    catalogue, path = Catalogue.load(), tmp_path / "telemetry.db"
    entry = catalogue.get(MODEL_ID)
    assert entry is not None
    recorder = Recorder(path)
    began_unix_ms = unix_ms()
    async with crowd(AGENTS, authority, entry, EVERY_S) as (agents, engine_port):
        await store.write(
            lambda session: enrol_all(session, agents, engine_port=engine_port, model_id=MODEL_ID)
        )
        async with running(Fleet(store, authority, TICKET_SECRET, catalogue, record=recorder)) as fleet:
            await eventually(lambda: len(_live(fleet)) == AGENTS, within_s=60)
            await eventually(lambda: all(agent.sent_count >= SAMPLES for agent in agents), within_s=60)
            for agent in agents:
                agent.behaviour.silent = True
            await eventually(lambda: all(_heard(fleet, agent) == agent.sent_count for agent in agents))
            tenants = {agent.agent_id: agent.tenant_id for agent in fleet.view.by_id.values()}
    recorder.close()
    assert (recorder.dropped_count, len(tenants)) == (0, AGENTS)
    for agent in agents:
        found = history(
            path,
            began_unix_ms - MINUTE_MS,
            unix_ms() + MINUTE_MS,
            tenant_id=tenants[AgentId(agent.agent_id)],
            agent_id=AgentId(agent.agent_id),
        )
        [numbers] = [
            subject.values[NUMBERED_READING].mean
            for subject in found.subjects
            if subject.subject == agent.uuid
        ]
        kept = [int(number) for number in numbers if number is not None]
        assert kept == list(range(1, agent.sent_count + 1))


def _live(fleet: Fleet) -> list[AgentId]:
    return [agent.agent_id for agent in fleet.view.by_id.values() if agent.liveness is Liveness.LIVE]


def _heard(fleet: Fleet, agent: SamplingAgent) -> int:
    """The number of its last sample that came; 0: none."""
    status = fleet.status(AgentId(agent.agent_id))
    return status.sample.sequence if status and status.sample else 0
