"""That a coding call's plan has no place for a third-party card or a vendor is proved by the type checker."""

from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[4]

PROGRAM = """
from control_plane.router import (
    AtVendor, CodingCall, GeneralCall, OperatorCard, OwnCard, PerimeterPlan, Plan, TenantFacts,
    ThirdPartyCard, World, plan,
)

def own(card: OwnCard) -> PerimeterPlan:
    return Plan((card,), ())

def operators(card: OperatorCard) -> PerimeterPlan:
    return Plan((card,), ())

def coding(call: CodingCall, tenant: TenantFacts, world: World) -> PerimeterPlan:
    return plan(call, tenant, world)

def third_partys(card: ThirdPartyCard) -> PerimeterPlan:
    return Plan((card,), ())  # refused: arg-type

def vendors(vendor: AtVendor) -> PerimeterPlan:
    return Plan((vendor,), ())  # refused: arg-type

def general(call: GeneralCall, tenant: TenantFacts, world: World) -> PerimeterPlan:
    return plan(call, tenant, world)  # refused: return-value
"""


@pytest.mark.timeout(400)
def test_a_coding_plan_cannot_express_a_third_partys_card_or_a_vendor(tmp_path: Path) -> None:
    program = tmp_path / "perimeter.py"
    program.write_text(PROGRAM)
    # The repository's own cache: what the program imports is checked already where scripts/check has run.
    arguments = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    out, errors, _ = api.run([*arguments, "--no-error-summary", "--no-color-output", str(program)])
    assert errors == ""
    found = {}
    for line in out.splitlines():
        place, _, words = line.partition(": error: ")
        # Where it lies is not compared: the cache may tell what it found in an earlier run's copy.
        assert Path(place.rpartition(":")[0]).name == program.name, line
        found[int(place.rsplit(":", 1)[1])] = words.rsplit("[", 1)[1].rstrip("]")
    wanted = {
        number: line.rsplit("refused: ", 1)[1]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "refused: " in line
    }
    assert found == wanted
