"""The tiny model, made once per version of its builder, and free ports for engines."""

import fcntl
import hashlib
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine import cache, engine_python

BUILDER = Path(__file__).with_name("tiny_model.py")
MODEL_ID = "tiny-random-llama"
SERVED_NAME = "tiny-random"


@dataclass(frozen=True, slots=True)
class TinyModel:
    """Directories for `models` and `catalogue` of the agent's configuration."""

    models: Path
    catalogue: Path


def tiny_model() -> TinyModel:
    """Needs the engine environment; some 15 seconds the first time on a machine."""
    version = hashlib.sha256(BUILDER.read_bytes()).hexdigest()[:16]
    directory = cache() / f"tiny-model-{version}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "catalogue").exists():
            environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
            made = subprocess.run(
                [engine_python(), BUILDER, directory],
                capture_output=True,
                text=True,
                timeout=300,
                env=environment,
            )
            assert made.returncode == 0, made.stderr[-2000:]
    return TinyModel(directory / "models", directory / "catalogue")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
