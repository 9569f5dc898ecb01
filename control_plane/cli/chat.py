"""`daalu chat`: a conversation in the terminal, over the API that programs use."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Annotated, Any

import httpx2
import typer

from control_plane.cli.chat_stream import deltas
from control_plane.cli.failure import Failure
from control_plane.cli.rest import (
    DATA,
    Data,
    Target,
    Url,
    find_target,
    reaching,
    refusal_in_words,
    segment,
)
from control_plane.cli.show import milliseconds, plain, print_json, usd
from control_plane.cli.waiting import waiting
from control_plane.store.tables import CallOutcome, Purpose

# The gateway sends a comment every few seconds while nothing comes of the engine: silence is a fault.
SILENCE_S = 60.0
# An answer that was stopped is settled by the control plane on its own, a moment later.
SETTLED_WITHIN_S = 10.0
_ASK_AGAIN_S = 0.25
# Of a whole input that is no terminal.
MOST_PROMPT_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is the same for every question of a conversation."""

    model: str
    purpose: Purpose
    max_tokens: int | None


@dataclass(slots=True)
class Answer:
    """As far as it came."""

    call_id: str | None = None
    text: str = ""
    stopped: bool = False


def chat(
    once: Annotated[
        str | None, typer.Option("--once", metavar="PROMPT", help="Ask this and end; no conversation.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="A served name, an alias, or auto.")] = "auto",
    purpose: Annotated[
        Purpose, typer.Option("--purpose", help="A coding call never leaves the trusted perimeter.")
    ] = Purpose.GENERAL,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Of an answer, at most; default: the plan's.")
    ] = None,
    key: Annotated[
        str,
        typer.Option("--key", envvar="DAALU_API_KEY", help="A tenant's API key.", show_envvar=True),
    ] = "",
    url: Url = None,
    data: Data = DATA,
    as_json: Annotated[
        bool, typer.Option("--json", help="With one prompt: the answer and its figures, as JSON.")
    ] = False,
) -> None:
    """A conversation with a model, as a tenant's program has it; after each answer, where it came from.

    Ctrl-C stops an answer, and ends the program where none is under way. Where input is no terminal, all
    of it is one prompt.
    """
    if not key:
        raise Failure("no API key: give --key or DAALU_API_KEY (daalu keys create makes one)")
    target, wanted = find_target(url, key, data), Wanted(model, purpose, max_tokens)
    if once is None and not sys.stdin.isatty():
        once = sys.stdin.read(MOST_PROMPT_CHARACTERS + 1)
        if len(once) > MOST_PROMPT_CHARACTERS:
            raise Failure(f"the prompt has more than {MOST_PROMPT_CHARACTERS:,} characters")
    if once is not None:
        _ask_once(target, wanted, once, as_json=as_json)
    elif as_json:
        raise Failure("--json is for one prompt: give --once, or pipe it in")
    else:
        _converse(target, wanted)


def _ask_once(target: Target, wanted: Wanted, prompt: str, *, as_json: bool) -> None:
    if not prompt.strip():
        raise Failure("the prompt is empty")
    answer = _ask(target, wanted, [_message("user", prompt)], show=not as_json)
    figures = _figures(target, answer)
    if as_json:
        print_json({"text": answer.text, "call": figures})
    else:
        print(_in_words(answer, figures), file=sys.stderr)
    if answer.stopped:
        raise typer.Exit(130)


def _converse(target: Target, wanted: Wanted) -> None:
    # Gives input() its history and its keys.
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - not every Python has it
    print("Ctrl-C stops an answer; at the prompt it ends the conversation, as Ctrl-D does.", file=sys.stderr)
    said: list[dict[str, str]] = []
    while True:
        try:
            prompt = input("> ")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if not prompt.strip():
            continue
        said.append(_message("user", prompt))
        try:
            answer = _ask(target, wanted, said, show=True)
        except Failure as failure:
            # The question is taken back: the conversation stands as it was.
            said.pop()
            print(f"daalu: {failure}", file=sys.stderr)
            continue
        said.append(_message("assistant", answer.text))
        print(_in_words(answer, _figures(target, answer)), file=sys.stderr)


def _ask(target: Target, wanted: Wanted, messages: list[dict[str, str]], *, show: bool) -> Answer:
    """Raises Failure, with the control plane's words, also where an answer broke off."""
    answer = Answer()
    try:
        with ExitStack() as until_first:
            until_first.enter_context(waiting("waiting for the first token"))
            for piece in _pieces(target, wanted, messages, answer):
                until_first.close()
                answer.text += piece
                if show:
                    print(_shown(piece), end="", flush=True)
    except KeyboardInterrupt:
        answer.stopped = True
    finally:
        if show and answer.text:
            print(flush=True)
    return answer


def _pieces(target: Target, wanted: Wanted, messages: list[dict[str, str]], answer: Answer) -> Iterator[str]:
    body: dict[str, Any] = {"model": wanted.model, "messages": messages, "stream": True}
    if wanted.max_tokens is not None:
        body["max_tokens"] = wanted.max_tokens
    headers = {"x-daalu-purpose": "coding"} if wanted.purpose is Purpose.CODING else {}
    with (
        reaching(target) as client,
        client.stream(
            "POST", f"{target.url}/v1/chat/completions", json=body, headers=headers, timeout=SILENCE_S
        ) as response,
    ):
        answer.call_id = response.headers.get("x-daalu-call-id")
        if not response.is_success:
            response.read()
            raise Failure(_refusal(target, response))
        yield from deltas(response.iter_lines())


def _refusal(target: Target, response: httpx2.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        body = None
    return refusal_in_words(target, response.status_code, body)


def _figures(target: Target, answer: Answer) -> dict[str, Any] | None:
    """None where they are not to be had now."""
    if answer.call_id is None:
        return None
    until_s = time.monotonic() + SETTLED_WITHIN_S
    with reaching(target) as client:
        while True:
            response = client.get(f"{target.url}/own/calls/{segment(answer.call_id)}")
            figures: dict[str, Any] | None = response.json() if response.is_success else None
            running = figures is not None and figures["outcome"] == CallOutcome.RUNNING
            if not running or time.monotonic() > until_s:
                return figures
            time.sleep(_ASK_AGAIN_S)


def _in_words(answer: Answer, figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "its figures are not to be had now"
    where = figures["tier"] or "nowhere"
    facts = [
        f"{where}, {figures['pool_name'] or figures['vendor']}"
        if figures["pool_name"] or figures["vendor"]
        else where,
        figures["model"],
        f"{figures['prompt_tokens']} in, {figures['completion_tokens']} out",
        _cost(figures),
    ]
    if figures["first_token_ms"] is not None:
        facts.append(f"first token after {milliseconds(figures['first_token_ms'])}")
    if answer.stopped:
        facts.append("stopped")
    return plain(f"[{'; '.join(facts)}; {figures['id']}]")


def _cost(figures: dict[str, Any]) -> str:
    if figures["tier"] == "own":
        return "free, on an own card"
    return "nothing charged" if figures["charge_pico_usd"] is None else usd(figures["charge_pico_usd"])


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _shown(text: str) -> str:
    """What a model says cannot steer the terminal; its lines stay lines."""
    return "".join(char if char in "\n\t" else plain(char) for char in text)
