"""What a vendor's refusal means."""

import json

import pytest

from control_plane.gateway.reading import AttemptFailed, EngineRefused
from control_plane.gateway.vendor_answer import VendorRefusals
from control_plane.vendors import Vendor, parse_base_url

KEY = "sk-secret"
VENDOR = Vendor("example", parse_base_url("https://api.example/v1"), KEY, None, {})
REFUSALS = VendorRefusals(VENDOR)
SAID = b'{"error": {"message": "account org-77 of key sk-secret is out of luck", "code": "x"}}'


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (301, "vendor_redirect", "none is followed: correct its base_url"),
        (307, "vendor_redirect", "a redirect"),
        (401, "vendor_401", "refused the operator's key"),
        (403, "vendor_403", "refused the operator's key"),
        (402, "vendor_402", "wants to be paid"),
        (404, "vendor_404", "does not know the model"),
        (429, "vendor_429", "by its own limit"),
        (500, "vendor_500", "failed (500)"),
        (204, "vendor_204", "failed (204)"),
    ],
)
def test_what_is_not_the_clients_fault_is_a_failed_attempt_that_tells_nothing_of_the_account(
    status: int, code: str, words: str
) -> None:
    failed = REFUSALS.in_answer(status, SAID)
    assert isinstance(failed, AttemptFailed)
    assert failed.code == code
    assert words in failed.words
    assert "the vendor example" in failed.words
    assert "org-77" not in failed.words


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_at_fault_is_refused_in_the_vendors_words_without_the_key(status: int) -> None:
    refused = REFUSALS.in_answer(status, SAID)
    assert isinstance(refused, EngineRefused)
    assert refused.status == status
    error = json.loads(refused.body)["error"]
    assert error["message"] == (
        "the vendor example refused the request: account org-77 of key … is out of luck"
    )
    assert error["code"] == "engine_refused"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "too long"}', "too long"),
        (b'{"message": "bad", "type": "x"}', "bad"),
        (b'"plain"', "plain"),
        (b"<html>", "it did not say why"),
        (b"[1]", "it did not say why"),
        (b'{"error": {"message": 3}}', "it did not say why"),
        (b'{"message": "%b"}' % (b"x" * 9_000), "x" * 2_000),
    ],
)
def test_a_refusal_of_any_shape_is_put_into_one(body: bytes, said: str) -> None:
    refused = REFUSALS.in_answer(400, body)
    assert isinstance(refused, EngineRefused)
    assert json.loads(refused.body)["error"]["message"].endswith(f"request: {said}")


def test_an_error_inside_a_stream_means_the_same() -> None:
    refused = REFUSALS.in_stream({"code": 400, "message": "bad"})
    assert isinstance(refused, EngineRefused)
    assert b"refused the request: bad" in refused.body
    for error in ({"code": 529}, {"code": "overloaded"}, {}):
        failed = REFUSALS.in_stream(error)
        assert isinstance(failed, AttemptFailed)
        assert failed.code == "vendor_error"


def test_what_is_no_answer_is_a_failed_attempt() -> None:
    assert REFUSALS.no_answer("no JSON object").words == "the vendor example sent no JSON object"


def test_only_what_another_moment_may_mend_is_not_held_against_the_vendor() -> None:
    faults = {}
    for status in (401, 404, 408, 429, 500, 503, 302):
        failed = REFUSALS.in_answer(status, b"")
        assert isinstance(failed, AttemptFailed)
        faults[status] = failed.at_fault
    assert faults == {401: True, 404: True, 408: False, 429: False, 500: True, 503: False, 302: True}
