"""An agent's host behind a link that is cut and comes back: packets vanish, nobody says goodbye."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.enrolment import Authority
from control_plane.fleet import Fleet, Liveness
from control_plane.identifiers import AgentId
from control_plane.store import Store
from tests.support.fleet import eventually, new_fleet, running
from tests.support.netlab import Lab

ROOT = Path(__file__).parents[4]


def _is(fleet: Fleet, agent_id: AgentId, liveness: Liveness) -> bool:
    agent = fleet.view.by_id.get(agent_id)
    return agent is not None and agent.liveness is liveness


@pytest.mark.root
async def test_an_agent_behind_a_cut_link_is_out_within_15_s_and_back_when_it_returns(
    store: Store, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path / "authority")
    lost: list[str] = []
    with Lab() as lab:
        host = lab.host("agent")
        link = lab.connect(lab.machine(), host)
        url = store.url.render_as_string(hide_password=False)
        command = [sys.executable, "-m", "tests.support.fleet_program", url, str(tmp_path / "authority")]
        with host.popen([*command, link.b_address], cwd=ROOT, stdout=subprocess.PIPE) as agent:
            assert agent.stdout is not None
            agent_id = AgentId((await asyncio.to_thread(agent.stdout.readline)).decode().strip())
            fleet = new_fleet(store, authority)
            fleet.on_lost(lambda _, reason: lost.append(reason))
            async with running(fleet):
                await eventually(lambda: _is(fleet, agent_id, Liveness.LIVE))
                link.cut()
                await eventually(lambda: _is(fleet, agent_id, Liveness.OUT), within_s=15.5)
                assert lost == ["out: silent for 15 s"]
                link.restore()
                await eventually(lambda: _is(fleet, agent_id, Liveness.LIVE), within_s=15.0)
            agent.terminate()
