"""Asking the control plane over HTTPS: again where that can help, and its refusals in words."""

import datetime as dt
import random
import time
from collections.abc import Callable

from daalu_wire.v1 import enrolment_pb2
from google.protobuf import json_format

from agent.enrolment.connection import Answer, Refused, Unreachable, post
from agent.enrolment.invite import ControlPlane

# One try: connecting, the handshake and each wait for the answer.
TRY_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
TRIES_LIMIT = 100
# Half of what a ticket lives: a clock that is further off makes the engine refuse calls.
CLOCK_TOLERANCE = dt.timedelta(seconds=30)

_NEW_INVITE = "ask for a new one (`daalu agents invite`)"
_REFUSALS = {
    "malformed": "the control plane cannot read this agent's request: are their versions too far apart?",
    "unknown_token": f"the control plane does not know this invite: {_NEW_INVITE}",
    "expired_token": f"the invite has expired (an invite is good for one hour): {_NEW_INVITE}",
    "token_used": f"the invite was used already, by a host with other keys: {_NEW_INVITE}",
    "direct_not_allowed": (
        "the control plane does not allow direct mode: "
        "start it with --allow-direct, or enrol without --direct"
    ),
}


def ask(
    there: ControlPlane, path: str, body: bytes, timeout_s: float, report: Callable[[str], None]
) -> Answer:
    """Tries again, with full jitter, only what another try can mend. Raises EnrolmentError."""
    deadline = time.monotonic() + timeout_s
    for number in range(TRIES_LIMIT):
        left_s = deadline - time.monotonic()
        try:
            return post(there, path, body, max(0.1, min(TRY_TIMEOUT_S, left_s)))
        except Unreachable as error:
            pause_s = random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(number, 10)))  # noqa: S311
            if time.monotonic() + pause_s >= deadline or number == TRIES_LIMIT - 1:
                raise Unreachable(
                    f"{error} (gave up after {number + 1} tries in {timeout_s:.0f} s)"
                ) from error
            report(f"{error}; trying again in {pause_s:.1f} s")
            time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def refusal(there: ControlPlane, answer: Answer) -> Refused:
    """What a status other than 200 means, in words."""
    said = enrolment_pb2.EnrolmentRefusal()
    try:
        json_format.Parse(answer.body, said, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError):
        said.Clear()
    if not said.code:
        return Refused(
            "", f"{there.url} answered HTTP {answer.status} without a reason: is it a control plane?"
        )
    text = _REFUSALS.get(said.code) or one_line(said.message) or said.code
    fault = clock_fault(answer) if said.code == "expired_token" else None
    return Refused(said.code, f"{text}; {fault}" if fault else text)


def one_line(text: str) -> str:
    """Foreign text for a terminal: printable, without line breaks, at most 300 characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip()


def clock_fault(answer: Answer) -> str | None:
    """In words, where this host's clock will get in the way."""
    ahead = answer.clock_ahead
    if ahead is None or abs(ahead) <= CLOCK_TOLERANCE:
        return None
    side = "ahead of" if ahead > dt.timedelta() else "behind"
    seconds = dt.timedelta(seconds=round(abs(ahead).total_seconds()))
    return (
        f"this host's clock is {seconds} (h:mm:ss) {side} the control plane's: "
        "set it (timedatectl set-ntp true), or calls will be refused"
    )
