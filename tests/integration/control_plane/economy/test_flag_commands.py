"""Flags of providers on the command line, for people and with --json."""

import json
from collections.abc import Iterator

import pytest
from sqlmodel import Session

from control_plane.store import Store
from control_plane.store.economy_tables import Measure, ProviderFlag
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.economy import NOVEMBER_MS, add_economy


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    def unit(session: Session) -> None:
        add_economy(session)
        session.add(
            ProviderFlag(
                agent_id="agt-provider",
                since_unix_ms=NOVEMBER_MS,
                tenant_id="ten-provider",
                measure=Measure.COMPLETION,
                calls=100,
                claimed_tokens=12_000,
                counted_tokens=10_000,
            )
        )

    plane = initialised(tmp_path_factory.mktemp("plane") / "data")
    with serving(plane):
        store = Store(f"sqlite:///{plane.data / 'daalu.db'}")
        store.write_now(unit)
        store.close()
        yield plane


def test_a_flag_is_shown_and_cleared_once(plane: ControlPlane) -> None:
    def listed(*more: str) -> list[dict[str, object]]:
        result = plane.daalu("providers", "flags", "--json", *more)
        assert result.returncode == 0, result.stderr
        found: list[dict[str, object]] = json.loads(result.stdout)
        return found

    shown = plane.daalu("providers", "flags").stdout
    for word in ("agt-provider", "ten-provider", "completion", "12000", "10000", "2026-11-10"):
        assert word in shown
    (flag,) = listed()
    assert flag == {
        "agent_id": "agt-provider", "agent_name": "agt-provider", "tenant_id": "ten-provider",
        "since_unix_ms": NOVEMBER_MS, "measure": "completion", "calls": 100, "claimed_tokens": 12_000,
        "counted_tokens": 10_000, "cleared_unix_ms": None,
    }  # fmt: skip
    cleared = plane.daalu("providers", "clear", "--yes", "agt-provider")
    assert (cleared.returncode, cleared.stdout) == (0, "agt-provider is not flagged any more\n")
    assert listed() == []
    assert plane.daalu("providers", "flags").stdout == "no card is flagged\n"
    (flag,) = listed("--all")
    assert isinstance(flag["cleared_unix_ms"], int)
    again = plane.daalu("providers", "clear", "--yes", "agt-provider", "--json")
    assert (again.returncode, again.stdout) == (1, "")
    assert "there is no flag of agent 'agt-provider'" in again.stderr
    assert "there is no agent 'absent'" in plane.daalu("providers", "clear", "--yes", "absent").stderr
