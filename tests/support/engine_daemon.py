"""The part of the agent daemon that looks after the engine, as a program of its own to be killed.

    python tests/support/engine_daemon.py STATE PORT ENGINE_PYTHON MODELS CATALOGUE

It keeps STATE/sample.json (the engine's sample, as protobuf's JSON) fresh.
"""

import asyncio
import sys
from pathlib import Path

from google.protobuf import json_format

from agent.engine import Engine, EngineSettings
from agent.identity import write_atomically


async def main(state: str, port: str, engine_python: str, models: str, catalogue: str) -> None:
    settings = EngineSettings(
        state=Path(state),
        address="127.0.0.1",
        port=int(port),
        engine_python=Path(engine_python),
        models=Path(models),
        catalogue=Path(catalogue),
    )
    engine = Engine(settings)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(engine.run())
        while True:
            sample = json_format.MessageToJson(engine.sample())
            write_atomically(settings.state / "sample.json", sample.encode())
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
