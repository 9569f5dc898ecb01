"""vLLM's own load client as a process of its own, in an environment of its own."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from control_plane.fleet.load_test.step import StepFigures, UnreadableFigures
from control_plane.fleet.load_test.sweep import Sweep

# One line of figures is below 1 KiB.
MOST_LINE_BYTES = 64 * 1024
MOST_LOG_BYTES = 2_000

# Runs in the client's environment: one import of vLLM for all steps, a line of figures after each. What the
# client prints itself goes to the log. It ends with its parent, whose end closes the input.
_PROGRAM = """
import json, os, shutil, sys, threading
figures = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
steps = json.loads(sys.stdin.readline())
def end_with_the_parent():
    os.read(0, 1)
    # The working directory was the parent's to remove.
    shutil.rmtree(os.getcwd(), ignore_errors=True)
    os._exit(1)
threading.Thread(target=end_with_the_parent, daemon=True).start()
import argparse
from vllm.benchmarks import serve
try:
    from vllm.utils.argparse_utils import FlexibleArgumentParser as Parser
except ImportError:
    Parser = argparse.ArgumentParser
WANTED = ("max_concurrency", "completed", "failed", "duration", "request_throughput", "output_throughput")
WANTED += tuple(f"p{p}_{m}_ms" for p in (50, 90, 99) for m in ("ttft", "itl"))
for step in steps:
    parser = Parser()
    serve.add_cli_args(parser)
    said = serve.main(parser.parse_args(step))
    errors = [each for each in said.get("errors", ()) if each]
    wanted = {name: said[name] for name in WANTED}
    print(json.dumps(wanted | {"error": errors[0] if errors else None}), file=figures, flush=True)
"""


class ClientFailed(Exception):
    """The client could not be started, or ended before its last step; the message says what it said."""


@dataclass(frozen=True, slots=True)
class LoadClient:
    # Of an environment with vLLM in it.
    python: Path
    # Where users call the control plane.
    base_url: str
    # What is trusted beside the system's authorities.
    certificate: Path
    # `<directory>/<model id>` holds the tokenizer by which inputs are made.
    tokenizers: Path

    def tokenizer(self, model_id: str) -> Path:
        return self.tokenizers / model_id

    async def run(
        self, sweep: Sweep, *, model_id: str, served_name: str, key: str
    ) -> AsyncGenerator[StepFigures, None]:
        """Step by step as they end; closing it ends the client. Raises ClientFailed."""
        steps = [
            self._arguments(sweep, model_id, served_name, concurrency) for concurrency in sweep.concurrencies
        ]
        with TemporaryDirectory(prefix="daalu-load-test-") as scratch:
            log = Path(scratch) / "client.log"
            with log.open("wb") as output:
                process = await asyncio.to_thread(self._start, scratch, key, output.fileno())
            try:
                if process.stdin is None or process.stdout is None:
                    raise ClientFailed("the load client has no pipes")
                # Left open: its end tells the client that this process is gone.
                process.stdin.write(json.dumps(steps).encode() + b"\n")
                process.stdin.flush()
                figures = await _reader(process.stdout)
                for _ in steps:
                    line = await figures.readline()
                    if not line:
                        raise ClientFailed(f"the load client ended early: {_tail(log)}")
                    yield StepFigures.of(json.loads(line))
            except (ValueError, ConnectionError) as error:
                said = str(error) if isinstance(error, UnreadableFigures) else _tail(log)
                raise ClientFailed(f"the load client cannot be understood: {said}") from error
            finally:
                await _end(process)

    def _start(self, scratch: str, key: str, log: int) -> "subprocess.Popen[bytes]":
        """By vfork. The loop's own way forks, and runs in the child what gRPC wants done after a fork."""
        try:
            return subprocess.Popen(
                [self.python, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=scratch,
                env=self._environment(scratch, key),
                start_new_session=True,
            )
        except OSError as error:
            raise ClientFailed(f"{self.python} cannot be started: {error.strerror}") from error

    def _environment(self, scratch: str, key: str) -> dict[str, str]:
        """Nothing of this process's secrets, and nothing that would be looked for on the Internet."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": scratch,
            "TMPDIR": scratch,
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "SSL_CERT_FILE": str(self.certificate),
            # The command line can be read by every user of the machine, the environment by this one alone.
            "OPENAI_API_KEY": key,
        }

    def _arguments(self, sweep: Sweep, model_id: str, served_name: str, concurrency: int) -> list[str]:
        values = {
            "backend": "openai-chat",
            "base-url": self.base_url,
            "endpoint": "/v1/chat/completions",
            "model": served_name,
            "tokenizer": self.tokenizer(model_id),
            "dataset-name": "random",
            "random-input-len": sweep.input_tokens,
            "random-output-len": sweep.output_tokens,
            "num-prompts": sweep.requests(concurrency),
            "max-concurrency": concurrency,
            # Prompts of their own in each step, so that none is found in the engine's prefix cache.
            "seed": concurrency,
            "ready-check-timeout-sec": 0,
            "percentile-metrics": "ttft,itl",
            "metric-percentiles": "50,90,99",
        }
        given = [part for name, value in values.items() for part in (f"--{name}", str(value))]
        return [*given, "--ignore-eos", "--disable-tqdm"]


async def _reader(pipe: Any) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MOST_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        # It has a session of its own, and its children are in that.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def _tail(log: Path) -> str:
    lines = log.read_bytes()[-MOST_LOG_BYTES:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
