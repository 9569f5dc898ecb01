"""The tour: brings the product up, asks it one question, shows where the answer came from."""

import itertools
import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openai.types.chat import ChatCompletion

from demo.show import card_lines
from tests.support.product import AgentOptions
from tests.support.programs import POLL_S
from tests.support.system import ENGINE_TIMEOUT_S, System

TENANT = "acme"
AGENT = "workshop"
MODEL_ID = "smollm2-135m-instruct"
PLAIN_URL = "http://127.0.0.1:8080"
QUESTION = "What is the capital of France?"


@dataclass(frozen=True, slots=True)
class Answer:
    completion: ChatCompletion
    call_id: str
    tier: str


class Tour:
    """Each step prints a line when it begins and how long it took when it ends."""

    def __init__(self, system: System, options: AgentOptions) -> None:
        self._system = system
        self._options = options
        self._numbers = itertools.count(1)
        self._key = ""
        self._served_name = ""

    def run(self) -> None:
        """Raises ProgramFailed, LabError, TimeoutError or an error of the OpenAI client."""
        control, direct = self._system.control, self._system.network.direct
        with self._step(
            "starting the control plane" + (" (direct mode: no hub)" if direct else " and its hub")
        ):
            self._system.start()
            control.create_tenant(TENANT)
            self._key = control.create_key(TENANT)
        where = "on this machine" if direct else "in a network namespace behind an address translator"
        with self._step(f"enrolling a customer's host, {where}, with a one-time invite"):
            self._system.join(self._system.new_site(AGENT, self._options), TENANT)
        with self._step(f"loading {MODEL_ID} into vLLM there"):
            control.deploy(AGENT, MODEL_ID)
            self._served_name = self._watch_engine()
        with self._step("asking one question with the official OpenAI client"):
            answer = self._ask()
        self._show(answer)

    def invitation(self) -> str:
        """How to go on from this machine's shell."""
        body = {"model": self._served_name, "messages": [{"role": "user", "content": QUESTION}]}
        control = self._system.control
        return f"""
The control plane is at {PLAIN_URL} (this machine only) and {control.url}; operators ask it with

  {shlex.join(control.command("calls", "list"))}

Ask it something yourself, from another terminal:

  curl {PLAIN_URL}/v1/chat/completions \\
    -H 'Authorization: Bearer {self._key}' -H 'Content-Type: application/json' \\
    -d {shlex.quote(json.dumps(body))}

Ctrl-C ends the demo and removes all of it.
"""

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        say(f"{next(self._numbers)}. {what} ...")
        yield
        say(f"   done in {time.monotonic() - began:.1f} s")

    def _watch_engine(self) -> str:
        """Prints what the engine does until it is ready; returns the name it serves."""
        deadline = time.monotonic() + ENGINE_TIMEOUT_S
        shown = ""
        while time.monotonic() < deadline:
            engine = self._system.control.agent(AGENT)["engine"]
            if engine and engine["phase"] == "ready":
                return str(engine["served_name"])
            if engine and engine["detail"] != shown:
                shown = engine["detail"]
                say(f"   {shown}")
            # A telemetry sample comes every two seconds: asking more often shows no more.
            time.sleep(20 * POLL_S)
        raise TimeoutError(f"the engine is not ready after {ENGINE_TIMEOUT_S:.0f} s: {shown}")

    def _ask(self) -> Answer:
        with self._system.network.client.entered():
            response = self._system.client(self._key).chat.completions.with_raw_response.create(
                model=self._served_name,
                messages=[{"role": "user", "content": QUESTION}],
                temperature=0,
                max_tokens=64,
            )
        return Answer(response.parse(), response.headers["x-daalu-call-id"], response.headers["x-daalu-tier"])

    def _show(self, answer: Answer) -> None:
        agent: dict[str, Any] = self._system.control.agent(AGENT)
        usage = answer.completion.usage
        say("")
        say(f"   question   {QUESTION}")
        say(f"   answer     {answer.completion.choices[0].message.content}")
        if usage is not None:
            say(f"   tokens     {usage.prompt_tokens} in, {usage.completion_tokens} out")
        address = agent["tunnel_address"] or "loopback, no tunnel"
        say(f"   served by  agent {AGENT} at {address}, tier {answer.tier}, call {answer.call_id}")
        for line in card_lines(agent):
            say(f"   card       {line}")


def say(line: str) -> None:
    print(line, file=sys.stdout, flush=True)
