"""Why nobody could serve a call, as the refusal that its client gets. Pure."""

from control_plane.catalogue import AUTO
from control_plane.gateway.connection import Fault
from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.holds import Denied
from control_plane.gateway.reading import AttemptFailed
from control_plane.gateway.record import CallRecord
from control_plane.router import reasons_in_words

RETRY_AFTER_S = 5


def nobody_could(record: CallRecord, failure: AttemptFailed | None, denied: Denied | None) -> Refusal:
    """`failure`: of the last attempt; `denied`: by the last pool or vendor that would not take the call."""
    if failure is not None:
        if failure.code == Fault.TIMEOUT:
            condition = Condition.ENGINE_TIMEOUT
        elif failure.at_fault or failure.code == Fault.TOO_LARGE:
            condition = Condition.ENGINE_FAILED
        else:
            # Busy or drained since the plan was made: another moment may be better.
            condition = Condition.NO_CAPACITY
        message = f"no card could answer ({len(record.attempts)} tried); the last: {failure.words}"
        if denied is not None:
            message += f"; {denied.denial.words}"
        return Refusal(condition, message, headers={"retry-after": str(RETRY_AFTER_S)})
    if denied is not None:
        return Refusal(denied.condition, denied.denial.words)
    plan, model = record.plan, record.request.model[:200]
    why = reasons_in_words(plan)
    if model == AUTO:
        message = f"no model that you may use can be reached now: {why}"
        return Refusal(Condition.NO_CAPACITY, message, headers={"retry-after": str(RETRY_AFTER_S)})
    if not plan.model_is_known:
        message = f"the model {model!r} does not exist or nothing that you may use serves it: {why}"
        return Refusal(Condition.MODEL_NOT_FOUND, message, param="model")
    if plan.needs_a_right:
        return Refusal(Condition.NOT_ENTITLED, f"no card of yours serves {model!r}: {why}", param="model")
    if plan.only_context_is_missing:
        message = f"the request does not fit any context: {why}"
        return Refusal(Condition.CONTEXT_TOO_LONG, message, param="messages")
    message = f"no card can serve {model!r} now: {why}"
    return Refusal(Condition.NO_CAPACITY, message, headers={"retry-after": str(RETRY_AFTER_S)})
