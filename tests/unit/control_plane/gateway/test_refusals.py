"""What a client is told where nobody could serve its call."""

from typing import Any

import orjson
import pytest

from control_plane.access import Principal
from control_plane.economy import LeftOutPool, NoOffer, Offers
from control_plane.fleet import AgentView, Liveness
from control_plane.gateway.connection import Fault
from control_plane.gateway.errors import Condition, FallThrough, Refusal
from control_plane.gateway.holds import Denied
from control_plane.gateway.reading import AttemptFailed
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.refusals import nobody_could
from control_plane.gateway.request import CHAT_COMPLETIONS, read_request
from control_plane.identifiers import ApiKeyId, AttemptId, CallId, PoolId
from control_plane.router import Denial, GeneralCall, OwnCard, TenantFacts, World, plan
from control_plane.store.tables import Purpose, Tier
from tests.support.gateway import TENANT, agent_view, engine_view, fleet_view

OVER_QUOTA = Denied(
    Denial(Tier.POOL, "shared", "quota_exceeded", "the month's quota has 3 left"), Condition.QUOTA_EXCEEDED
)


def record(*agents: AgentView, offers: Offers | None = None, **fields: Any) -> CallRecord:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **fields}
    request = read_request(CHAT_COMPLETIONS, orjson.dumps(body))
    made = plan(
        GeneralCall(request.model, request.prompt_characters, request.max_tokens, request.text_only),
        TenantFacts(TENANT, offers or Offers()),
        World(fleet_view(*agents)),
    )
    principal = Principal(TENANT, "acme", ApiKeyId("key"), Purpose.GENERAL)
    return CallRecord(CallId("call"), principal, Purpose.GENERAL, request, made, 1)


def tried(agent: AgentView) -> CallRecord:
    made = record(agent)
    [candidate] = made.plan.candidates
    assert isinstance(candidate, OwnCard)
    made.attempts.append(AttemptRecord(AttemptId("att"), 1, candidate, 1))
    return made


def refusal(made: CallRecord, failure: AttemptFailed | None = None, denied: Denied | None = None) -> Refusal:
    return nobody_could(made, failure, denied)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (AttemptFailed(Fault.LOST, "it hung up"), Condition.ENGINE_FAILED),
        (AttemptFailed("engine_500", "it answered 500"), Condition.ENGINE_FAILED),
        (AttemptFailed(Fault.TIMEOUT, "it took too long"), Condition.ENGINE_TIMEOUT),
        (AttemptFailed("draining", "it is drained", at_fault=False), Condition.NO_CAPACITY),
        (AttemptFailed(Fault.BUSY, "too many connections", at_fault=False), Condition.NO_CAPACITY),
    ],
)
def test_a_failed_attempt_is_told_with_how_many_there_were_and_when_to_come_back(
    failure: AttemptFailed, expected: Condition
) -> None:
    told = refusal(tried(agent_view("a")), failure)
    assert told.condition is expected
    assert failure.words in told.message
    assert "(1 tried)" in told.message
    assert int(told.headers["retry-after"]) >= 1


def test_a_failure_is_told_before_a_denial_and_both_are() -> None:
    told = refusal(tried(agent_view("a")), AttemptFailed(Fault.LOST, "it hung up"), OVER_QUOTA)
    assert told.condition is Condition.ENGINE_FAILED
    assert "it hung up" in told.message
    assert OVER_QUOTA.denial.words in told.message


def test_a_denial_alone_is_the_refusal() -> None:
    told = refusal(record(agent_view("a")), denied=OVER_QUOTA)
    assert (told.condition, told.message) == (Condition.QUOTA_EXCEEDED, OVER_QUOTA.denial.words)


def test_a_model_that_nothing_serves_is_not_found() -> None:
    told = refusal(record(agent_view("a"), model="gpt-x"))
    assert (told.condition, told.param) == (Condition.MODEL_NOT_FOUND, "model")
    assert "'gpt-x'" in told.message
    assert "it serves tiny" in told.message


def test_a_models_name_of_any_length_makes_a_short_refusal() -> None:
    assert len(refusal(record(model="x" * 100_000)).message) < 500


def test_an_unpriced_model_is_not_found_and_the_price_is_named() -> None:
    unpriced = Offers(left_out=(LeftOutPool(PoolId("pool"), "shared", NoOffer.UNPRICED),))
    told = refusal(record(offers=unpriced))
    assert told.condition is Condition.MODEL_NOT_FOUND
    assert "no price" in told.message


def test_whoever_lacks_a_right_only_is_told_that() -> None:
    told = refusal(record(offers=Offers(not_entitled=True)))
    assert told.condition is Condition.NOT_ENTITLED
    assert told.condition.value.fall_through is FallThrough.NEXT_TIER
    assert "no subscription" in told.message


def test_whoever_has_a_card_that_could_serve_later_is_told_to_come_back() -> None:
    told = refusal(record(agent_view("a", liveness=Liveness.OUT), offers=Offers(not_entitled=True)))
    assert told.condition is Condition.NO_CAPACITY
    assert "retry-after" in told.headers
    assert "a: it has not been heard of" in told.message


def test_a_call_that_no_context_fits_is_told_so() -> None:
    told = refusal(record(agent_view("a", engine=engine_view(context_tokens=8)), max_tokens=9))
    assert (told.condition, told.param) == (Condition.CONTEXT_TOO_LONG, "messages")


def test_leaving_the_model_to_us_where_nothing_can_be_reached_is_no_unknown_model() -> None:
    told = refusal(record(model="auto"))
    assert told.condition is Condition.NO_CAPACITY
    assert "auto" not in told.message


def test_every_refusal_reads_as_openais_clients_expect() -> None:
    body = orjson.loads(refusal(record(model="gpt-x")).body())
    assert body["error"].keys() == {"message", "type", "param", "code"}
