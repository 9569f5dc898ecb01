"""A real vLLM with SmolLM2 against what is reckoned of it: its claims of tokens, and its cache.

One engine is started for all tests; the model is that of the demo.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from control_plane.catalogue import Catalogue, Counter, Tokenizers
from control_plane.catalogue.fit import GIB, kv_bytes_per_token
from control_plane.economy.drift import LEAST_CALLS, Metered, judge
from control_plane.gateway.answer_text import CollectedAnswer
from control_plane.store.economy_tables import Measure
from tests.support.engine_model import free_port
from tests.support.machine import engine_python
from tests.support.programs import eventually

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[4]
MODEL_ID = "smollm2-135m-instruct"
START_S = 300.0
KV_CACHE_GIB = 1
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
# Of one answer: see the figures in control_plane/catalogue/counter.py.
TOLERANCE = 0.08
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HISTORY = [
    {"role": "developer", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Weather?"}, {"type": "text", "text": "In 東京 🙂"}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "x"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "rain"}]},
    {"role": "user", "content": "<|im_end|> Danke!"},
]


@dataclass(frozen=True, slots=True)
class Engine:
    port: int
    counter: Counter
    log: Path

    def ask(self, path: str, body: dict[str, Any]) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            with connection.getresponse() as response:
                answer = response.read()
                assert response.status == 200, answer
                return answer

    def answered(self, path: str, body: dict[str, Any], *, choices: int = 1) -> Metered:
        """What was claimed and counted of an answer."""
        whole = self.ask(path, body)
        answer = CollectedAnswer(choices=choices)
        answer.whole(whole)
        claimed = json.loads(whole)["usage"]["completion_tokens"]
        return Metered(claimed, self.counter.completion_tokens(answer.choices(), body))


def _answers_health(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = subprocess.run(
        [ROOT / "scripts" / "demo_model"], capture_output=True, text=True, timeout=START_S, check=False
    )
    assert made.returncode == 0, made.stderr
    model = Path(made.stdout.strip())
    catalogue = tmp_path_factory.mktemp("catalogue")
    for file in FILES:
        (catalogue / "tokenizers" / MODEL_ID).mkdir(parents=True, exist_ok=True)
        shutil.copy(model / file, catalogue / "tokenizers" / MODEL_ID)
    counter = Tokenizers.load(catalogue, Catalogue.load()).get(MODEL_ID)
    assert counter is not None
    port = free_port()
    log = catalogue / "engine.log"
    command: list[str | Path] = [
        engine_python(), "-m", "vllm.entrypoints.openai.api_server", "--model", model,
        "--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16",
        "--max-model-len", "2048", "--enforce-eager", "--enable-auto-tool-choice",
        "--tool-call-parser", "hermes",
    ]  # fmt: skip
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB),
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, cwd=catalogue, start_new_session=True
        )
    try:
        eventually(
            lambda: process.poll() is not None or _answers_health(port),
            f"the engine answers; its log is {log}",
            timeout_s=START_S,
        )
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        yield Engine(port, counter, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def test_the_cache_of_a_real_engine_is_within_5_per_cent_of_the_arithmetic(engine: Engine) -> None:
    reported = re.search(r"KV cache size: ([\d,]+) tokens", engine.log.read_text(errors="replace"))
    assert reported is not None, engine.log
    entry = Catalogue.load().get(MODEL_ID)
    assert entry is not None
    tokens = KV_CACHE_GIB * GIB / kv_bytes_per_token(entry.model)
    assert int(reported[1].replace(",", "")) == pytest.approx(tokens, rel=0.05)


def _near(metered: Metered, *, choices: int = 1) -> bool:
    return abs(metered.claimed - metered.counted) <= max(choices, TOLERANCE * metered.counted)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, _chat("What is the capital of France?")),
        (CHAT, _chat("Grüße aus Zürich, 東京 und 🙂\n\n\ttab  spaces", add_generation_prompt=False)),
        (CHAT, {"messages": [{"role": "system", "content": "Sing."}, {"role": "user", "content": ""}]}),
        (CHAT, {"messages": HISTORY}),
        (CHAT, {"messages": HISTORY, "tools": [TOOL], "tool_choice": "none", "reasoning_effort": "low"}),
        (CHAT, _chat("x", chat_template_kwargs={"enable_thinking": False}, add_special_tokens=True)),
        (CHAT, _chat("word " * 500, n=2, temperature=1)),
        (COMPLETIONS, {"prompt": "Once upon a time"}),
        (COMPLETIONS, {"prompt": ["Once", " upon a time", "東京"], "n": 2, "add_special_tokens": False}),
        (COMPLETIONS, {"prompt": [5, 6, 7]}),
        (COMPLETIONS, {"prompt": [[5, 6], [7]]}),
    ],
)
def test_a_prompts_own_count_is_the_engines(engine: Engine, path: str, body: dict[str, Any]) -> None:
    claimed = json.loads(engine.ask(path, {**body, "max_tokens": 1}))["usage"]["prompt_tokens"]
    assert engine.counter.prompt_tokens(body) == claimed


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        (_chat("What is the capital of France?"), 1),
        (_chat("Count to twenty.", max_tokens=20), 1),
        (_chat("What is the capital of France?", stop=[" Paris", "x"]), 1),
        (_chat("What is the capital of France?", stop=" is", include_stop_str_in_output=True), 1),
        (_chat("What is the capital of France?", stop_token_ids=[30]), 1),
        (_chat("Tell a story in German, with emoji.", n=2, temperature=1, seed=1, max_tokens=80), 2),
        (_chat("Write Python that sorts a list.", temperature=1, seed=2, max_tokens=80, logprobs=True), 1),
    ],
)
def test_an_answers_own_count_is_near_the_engines(engine: Engine, body: dict[str, Any], choices: int) -> None:
    metered = engine.answered(CHAT, body, choices=choices)
    assert _near(metered, choices=choices), metered


def test_a_greedy_answer_is_counted_exactly(engine: Engine) -> None:
    metered = engine.answered(CHAT, _chat("What is the capital of France?"))
    assert metered.claimed == metered.counted > 5


def test_completions_of_several_prompts_are_counted(engine: Engine) -> None:
    body = {"prompt": ["Once upon", "The quick brown"], "n": 2, "temperature": 1, "seed": 3, "max_tokens": 30}
    metered = engine.answered(COMPLETIONS, body, choices=4)
    assert _near(metered, choices=4), metered


def test_a_stream_is_counted_as_far_as_it_came(engine: Engine) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = _chat(
        "Tell a story.", n=2, temperature=1, seed=4, max_tokens=60, stream=True, stream_options=options
    )
    *events, _ = engine.ask(CHAT, body).removesuffix(b"data: [DONE]\n\n").split(b"\n\n")
    answer = CollectedAnswer(choices=2)
    running = [0, 0]
    for number, event in enumerate(events):
        answer.events(event + b"\n\n")
        payload = json.loads(event.removeprefix(b"data: "))
        for choice in payload["choices"]:
            running[choice["index"]] = payload["usage"]["completion_tokens"]
        if number % 20 == 0:
            partly = Metered(sum(running), engine.counter.completion_tokens(answer.choices(), body))
            assert _near(partly, choices=2), partly
    whole = Metered(sum(running), engine.counter.completion_tokens(answer.choices(), body))
    assert _near(whole, choices=2), whole


@pytest.mark.parametrize(
    "tool_choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_tool_call_is_not_counted_far_below_the_engine(engine: Engine, tool_choice: Any) -> None:
    body = _chat("What is the weather in Paris?", tools=[TOOL], tool_choice=tool_choice, max_tokens=100)
    metered = engine.answered(CHAT, body)
    assert metered.counted >= 0.8 * metered.claimed, metered


def test_a_real_engines_claims_are_no_drift_and_a_fifth_more_would_be(engine: Engine) -> None:
    questions = ["Hello!", "Tell a story.", "Name ten cities.", "Explain gravity.", "Write a poem in German."]

    def ask(number: int) -> Metered:
        temperature = (0, 0.7, 1, 1.5)[number % 4]
        question = questions[number % len(questions)]
        return engine.answered(CHAT, _chat(question, temperature=temperature, seed=number, max_tokens=48))

    with ThreadPoolExecutor(16) as threads:
        calls: Sequence[Metered] = list(threads.map(ask, range(LEAST_CALLS + 4)))
    assert judge(Measure.COMPLETION, calls) is None
    more = [Metered(call.claimed * 6 // 5, call.counted) for call in calls]
    assert judge(Measure.COMPLETION, more) is not None, calls
