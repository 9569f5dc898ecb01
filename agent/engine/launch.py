"""How the engine is started: from a catalogue entry and facts of the host to a command line. Pure."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daalu_wire.v1 import agent_pb2, catalogue_pb2

# What the engine may see of the daemon's own environment.
INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
    | {"http_proxy", "https_proxy", "no_proxy"}
)


@dataclass(frozen=True, slots=True)
class Host:
    """What the launch depends on besides the model."""

    engine_python: Path
    models: Path
    # The directory that holds `daalu_gate`, and the gate's configuration in it.
    gate: Path
    # The tunnel address, the only one that the engine listens on.
    address: str
    port: int
    # False: vLLM's CPU build.
    has_card: bool
    # The daemon's own environment, and what the owner adds to the engine's.
    environment: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Launch:
    argv: list[str]
    environment: dict[str, str]


def has_card(system: agent_pb2.CardSystem, cards: Iterable[agent_pb2.Card]) -> bool:
    """Whether the engine can run on a card; a simulated one runs nothing."""
    return system.state == agent_pb2.CARD_SYSTEM_STATE_OK and any(not card.simulated for card in cards)


def model_directory(model: catalogue_pb2.Model, models: Path) -> Path | None:
    """Where the weights must lie already; None for a model that vLLM fetches."""
    return models / model.source.directory if model.source.HasField("directory") else None


def launch(model: catalogue_pb2.Model, host: Host) -> Launch:
    """The command line and the whole environment of the engine."""
    argv = [str(host.engine_python), "-m", "vllm.entrypoints.openai.api_server"]
    directory = model_directory(model, host.models)
    if directory is not None:
        argv += ["--model", str(directory)]
    else:
        found = model.source.hugging_face
        argv += ["--model", found.repository, "--revision", found.revision]
        argv += ["--tokenizer-revision", found.revision, "--download-dir", str(host.models)]
    argv += ["--served-model-name", model.served_name]
    argv += ["--host", host.address, "--port", str(host.port)]
    argv += ["--max-model-len", str(model.context_tokens), "--max-num-seqs", str(model.max_running_calls)]
    argv += ["--dtype", model.dtype, "--scheduling-policy", "priority"]
    argv += ["--middleware", "daalu_gate.Gate", "--enable-prompt-tokens-details"]
    # Weights that bring code of their own stay out: what runs here is what was reviewed.
    argv += ["--no-trust-remote-code", "--no-enable-log-requests"]
    argv += ["--disable-uvicorn-access-log", "--disable-fastapi-docs"]
    if model.quantization:
        argv += ["--quantization", model.quantization]
    if model.kind == catalogue_pb2.MODEL_KIND_EMBEDDING:
        # vLLM would take a language model's architecture for one that is to write.
        argv += ["--runner", "pooling"]
    if model.tool_call_parser:
        argv += ["--enable-auto-tool-choice", "--tool-call-parser", model.tool_call_parser]
    if not host.has_card:
        argv += ["--enforce-eager"]

    environment = {name: value for name, value in host.environment.items() if name in INHERITED}
    # Programs of the engine's environment (ninja) are found beside its Python.
    path = environment.get("PATH", os.defpath)
    environment |= {
        "PATH": f"{host.engine_python.parent}{os.pathsep}{path}",
        "PYTHONPATH": str(host.gate),
        "DAALU_GATE_CONFIG": str(host.gate / "config.json"),
        "PYTHONUNBUFFERED": "1",
        # `-m` would import from the directory that the daemon happens to run in, which may be anybody's.
        "PYTHONSAFEPATH": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # vLLM's own processes talk to each other; nobody else needs to reach them.
        "VLLM_HOST_IP": "127.0.0.1",
    }
    if directory is not None:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if not host.has_card:
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
    return Launch(argv, {**environment, **host.added})
