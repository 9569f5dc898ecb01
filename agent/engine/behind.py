"""The engine that a daemon left running, seen by a program that is no daemon."""

from pathlib import Path

from daalu_wire.v1 import agent_pb2

from agent.engine.catalogue import Catalogue, NotInCatalogue
from agent.engine.client import EngineClient, EngineSilent
from agent.engine.memory import Memory


def left_behind(state: Path) -> agent_pb2.EngineSample:
    """What a daemon that is gone left: of no phase where its engine still runs. Raises StateError."""
    memory = Memory(state)
    running, desired = memory.running(), memory.desired()
    if running is not None and running.process.alive():
        return agent_pb2.EngineSample(
            model=agent_pb2.CatalogueReference(model_id=running.model_id, digest=running.digest),
            detail=f"process {running.process.pid} runs on; the next daemon adopts it",
        )
    return agent_pb2.EngineSample(
        phase=agent_pb2.ENGINE_PHASE_STOPPED,
        model=desired.reference,
        detail="the daemon starts it" if desired.reference else "",
    )


class EngineBehind:
    """Reads the state directory's files, and asks the engine through its gate; changes nothing."""

    def __init__(self, state: Path, catalogue: Path | None, sample: agent_pb2.EngineSample) -> None:
        """`catalogue`: the owner's own entries. `sample`: a running daemon's, or `left_behind`'s."""
        self._memory = Memory(state)
        self._catalogue = catalogue
        self._sample = sample

    def sample(self) -> agent_pb2.EngineSample:
        return self._sample

    async def probe(self, timeout_s: float) -> float:
        """As Engine.probe. Raises EngineSilent, StateError, InvalidEntry."""
        running, key = self._memory.running(), self._memory.local_key()
        if running is None or key is None:
            raise EngineSilent("no engine was started from this state directory")
        reference = agent_pb2.CatalogueReference(model_id=running.model_id, digest=running.digest)
        try:
            model = Catalogue.load(self._catalogue).find(reference)
        except NotInCatalogue as error:
            raise EngineSilent(str(error)) from error
        client = EngineClient(running.address, running.port, key, model.served_name)
        return await client.probe(model.kind, timeout_s)
