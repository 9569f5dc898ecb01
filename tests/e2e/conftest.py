"""One running system for all end-to-end tests: a control plane, a customer with an engine, one without.

Starting an engine takes one to two minutes, so it is shared; modules run in the order below, from those
that only ask to those that break things, and each leaves the system as it found it, but for the last.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from tests.support.engine_model import MODEL_ID, SERVED_NAME, TinyModel, tiny_model
from tests.support.engine_probe import EngineProbe
from tests.support.machine import cache, engine_python
from tests.support.netlab import Lab
from tests.support.networks import Internet
from tests.support.product import HTTPS_PORT, AgentOptions
from tests.support.raw_client import RawClient
from tests.support.recorded_engine import RecordedEngine
from tests.support.system import Site, System

ORDER = (
    # Runs a product of its own, before the shared one takes its memory.
    "test_demo",
    "test_openai_client",
    "test_surfaces",
    "test_fidelity",
    "test_bad_input",
    "test_isolation",
    "test_enrolment",
    "test_telemetry",
    "test_load_test",
    "test_client_gone",
    "test_memory",
    "test_economy",
    "test_crashes",
    "test_revocation",
)
TEST_TIMEOUT_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    ours = [item for item in items if item.path.is_relative_to(here)]
    for item in ours:
        # The first one waits for the engine too.
        item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
        item.add_marker(pytest.mark.root)
        item.add_marker(pytest.mark.engine)
    others = [item for item in items if item not in ours]
    items[:] = others + sorted(ours, key=lambda item: ORDER.index(item.path.stem))


@dataclass(frozen=True, slots=True)
class World:
    """What tests share. `owner` has the engine; `neighbour`, of another tenant, has none."""

    system: System
    owner: Site
    neighbour: Site
    engine: RecordedEngine
    models: Path
    catalogue: Path
    probe: EngineProbe
    owner_key: str
    neighbour_key: str


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="daalu-e2e-") as name, Lab() as lab:
        directory, tiny = Path(name), tiny_model()
        catalogue = _with_tokenizer(tiny, directory / "catalogue")
        engine = RecordedEngine(directory, engine_python())
        load_client = engine_python()
        with System(lab, Internet(lab), directory, catalogue=catalogue, load_client=load_client) as system:
            try:
                system.start()
                for tenant in ("owner", "neighbour"):
                    system.control.create_tenant(tenant)
                options = AgentOptions(engine_python=engine.python, models=tiny.models, catalogue=catalogue)
                owner, neighbour = (system.new_site(name, options) for name in ("alpha", "beta"))
                system.join(owner, "owner")
                system.join(neighbour, "neighbour")
                system.deploy(owner, MODEL_ID)
                yield World(
                    system,
                    owner,
                    neighbour,
                    engine,
                    tiny.models,
                    catalogue,
                    _probe(system, owner),
                    system.control.create_key("owner"),
                    system.control.create_key("neighbour"),
                )
            finally:
                _keep_logs(directory)


def _with_tokenizer(tiny: TinyModel, catalogue: Path) -> Path:
    """A catalogue with what the control plane counts tokens by, and a load client makes its inputs by."""
    shutil.copytree(tiny.catalogue, catalogue)
    files = catalogue / "tokenizers" / MODEL_ID
    files.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny.models / MODEL_ID / name, files / name)
    return catalogue


def _keep_logs(directory: Path) -> None:
    """In place of those of the run before, for whoever looks into a failure."""
    kept = cache() / "e2e-logs"
    shutil.rmtree(kept, ignore_errors=True)
    for log in directory.rglob("*.log"):
        to = kept / log.relative_to(directory)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, to)


def _probe(system: System, site: Site) -> EngineProbe:
    agent = system.control.agent(site.agent.name)
    return EngineProbe(
        system.network.control,
        system.control.data / "ticket-secret",
        agent_id=agent["id"],
        address=agent["tunnel_address"],
        port=7400,
        served_name=SERVED_NAME,
    )


@pytest.fixture
def client(world: World) -> Iterator[openai.OpenAI]:
    """The owner's, in the client's host."""
    with world.system.network.client.entered():
        yield world.system.client(world.owner_key)


@pytest.fixture
def raw(world: World) -> RawClient:
    """The owner's, in the client's host, for bytes that the official client would not send."""
    network = world.system.network
    return RawClient(
        network.client, network.control_address, HTTPS_PORT, world.system.control.tls(), world.owner_key
    )
