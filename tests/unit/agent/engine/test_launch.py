"""The engine's command line, from entry and host alone."""

import subprocess
import sys
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2, catalogue_pb2
from google.protobuf import json_format

from agent.engine import has_card
from agent.engine.launch import Host, launch

MODEL = {
    "modelId": "tiny",
    "servedName": "tiny-random",
    "source": {"directory": "tiny"},
    "contextTokens": 8192,
    "dtype": "bfloat16",
    "maxRunningCalls": 16,
}


def model(**changes: object) -> catalogue_pb2.Model:
    return json_format.ParseDict({**MODEL, **changes}, catalogue_pb2.Model())


def host(**changes: object) -> Host:
    facts: dict[str, object] = {
        "engine_python": Path("/engine/bin/python"),
        "models": Path("/models"),
        "gate": Path("/state/gate"),
        "address": "fd00::7",
        "port": 7400,
        "has_card": False,
        "environment": {"PATH": "/usr/bin", "AWS_SECRET_ACCESS_KEY": "hush", "HOME": "/root"},
    }
    return Host(**{**facts, **changes})  # type: ignore[arg-type]


def options(argv: list[str]) -> dict[str, str | None]:
    """Options by name; None for one without a value."""
    following = [*argv[4:], "--"]
    return {
        option: None if value.startswith("--") else value
        for option, value in zip(argv[3:], following, strict=True)
        if option.startswith("--")
    }


def test_the_whole_command_line_of_a_cpu_host() -> None:
    assert launch(model(), host()).argv == [
        *("/engine/bin/python", "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", "/models/tiny", "--served-model-name", "tiny-random"),
        *("--host", "fd00::7", "--port", "7400"),
        *("--max-model-len", "8192", "--max-num-seqs", "16"),
        *("--dtype", "bfloat16", "--scheduling-policy", "priority"),
        *("--middleware", "daalu_gate.Gate", "--enable-prompt-tokens-details"),
        *("--no-trust-remote-code", "--no-enable-log-requests"),
        *("--disable-uvicorn-access-log", "--disable-fastapi-docs"),
        "--enforce-eager",
    ]


def test_a_host_with_a_card_compiles_and_sizes_its_own_cache() -> None:
    plan = launch(model(), host(has_card=True))
    assert "--enforce-eager" not in plan.argv
    assert "VLLM_CPU_KVCACHE_SPACE" not in plan.environment


def test_a_fetched_model_is_pinned_to_its_commit() -> None:
    found = {"huggingFace": {"repository": "org/name", "revision": "a" * 40}}
    plan = launch(model(source=found), host())
    chosen = options(plan.argv)
    assert chosen["--model"] == "org/name"
    assert chosen["--revision"] == chosen["--tokenizer-revision"] == "a" * 40
    assert chosen["--download-dir"] == "/models"
    assert "HF_HUB_OFFLINE" not in plan.environment


def test_a_model_on_disk_never_asks_the_network() -> None:
    assert launch(model(), host()).environment["HF_HUB_OFFLINE"] == "1"


def test_tool_calls_need_a_parser() -> None:
    assert "--enable-auto-tool-choice" not in launch(model(), host()).argv
    chosen = options(launch(model(toolCallParser="hermes"), host()).argv)
    assert chosen["--tool-call-parser"] == "hermes"
    assert "--enable-auto-tool-choice" in chosen


def test_quantization_is_told_when_the_entry_has_one() -> None:
    assert options(launch(model(quantization="awq"), host()).argv)["--quantization"] == "awq"


def test_the_engine_inherits_no_secret_and_reports_nothing_home() -> None:
    environment = launch(model(), host()).environment
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert environment["HOME"] == "/root"
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["PYTHONPATH"] == "/state/gate"
    assert environment["DAALU_GATE_CONFIG"] == "/state/gate/config.json"


def test_what_the_owner_adds_wins() -> None:
    added = {"VLLM_CPU_KVCACHE_SPACE": "4"}
    assert launch(model(), host(added=added)).environment["VLLM_CPU_KVCACHE_SPACE"] == "4"


@pytest.mark.parametrize(
    ("state", "cards", "expected"),
    [
        (agent_pb2.CARD_SYSTEM_STATE_OK, [agent_pb2.Card()], True),
        (agent_pb2.CARD_SYSTEM_STATE_OK, [], False),
        (agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER, [], False),
        (agent_pb2.CARD_SYSTEM_STATE_SIMULATED, [agent_pb2.Card(simulated=True)], False),
    ],
)
def test_only_a_real_card_counts(
    state: agent_pb2.CardSystemState.ValueType, cards: list[agent_pb2.Card], expected: bool
) -> None:
    assert has_card(agent_pb2.CardSystem(state=state), cards) is expected


def test_nothing_is_imported_from_the_directory_that_the_daemon_runs_in(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("print('a stranger runs')")
    environment = launch(model(), host()).environment
    here = subprocess.run(
        [sys.executable, "-m", "vllm"],
        env=environment,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert "No module named" in here.stderr
    assert "a stranger" not in here.stdout


def test_an_embedding_model_is_started_as_one() -> None:
    embedding = model(kind=catalogue_pb2.MODEL_KIND_EMBEDDING)
    assert options(launch(embedding, host()).argv)["--runner"] == "pooling"
    assert "--runner" not in launch(model(), host()).argv
