import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.enrolment.claim_request import parse_claim
from control_plane.enrolment.refusal import RefusalCode, Refused
from tests.support.enrolment import Claimant

TOKEN = b"t" * 32
CLAIMANT = Claimant()


def _refusal(body: bytes) -> str:
    with pytest.raises(Refused) as caught:
        parse_claim(body)
    assert caught.value.refusal.code is RefusalCode.MALFORMED
    return caught.value.refusal.message


def test_a_sound_claim_is_read() -> None:
    request = parse_claim(CLAIMANT.body(TOKEN, agentName="gpu box 1", direct=True))
    assert request.agent_name == "gpu box 1"
    assert request.wireguard_public_key == CLAIMANT.wireguard_public_key
    assert (request.rpc_port, request.engine_port, request.direct) == (7443, 7400, True)


def test_a_newer_agents_fields_do_no_harm() -> None:
    newer = parse_claim(CLAIMANT.body(TOKEN, somethingNew={"a": 1}))
    assert newer.agent_name == "host"


KEY = CLAIMANT.wireguard_public_key


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("token", {"token": base64.b64encode(b"short").decode()}),
        ("token", {"token": "!"}),
        ("token", {"token": 7}),
        ("agent_name", {"agentName": ""}),
        ("agent_name", {"agentName": "x" * 65}),
        ("agent_name", {"agentName": "two\nlines"}),
        ("agent_name", {"agentName": "agt-01234567890123456789012345"}),
        ("agent_name", {"agentName": ["list"]}),
        ("agent_version", {"agentVersion": "\x1b[0m"}),
        ("wireguard_public_key", {"wireguardPublicKey": "AAAA"}),
        ("wireguard_public_key", {"wireguardPublicKey": base64.b64encode(bytes(32)).decode()}),
        ("wireguard_public_key", {"wireguardPublicKey": KEY + "\n"}),
        ("wireguard_public_key", {"wireguardPublicKey": KEY.replace("=", "")}),
        ("certificate_request_pem", {"certificateRequestPem": "no"}),
        ("rpc_port", {"rpcPort": 0}),
        ("rpc_port", {"rpcPort": 65536}),
        ("rpc_port", {"rpcPort": -1}),
        ("rpc_port", {"rpcPort": "abc"}),
        ("engine_port", {"enginePort": 7443}),
        ("direct", {"direct": "yes"}),
    ],
)
def test_a_bad_field_is_named(field: str, changes: dict[str, Any]) -> None:
    assert _refusal(CLAIMANT.body(TOKEN, **changes)).startswith(f"{field} is not acceptable: ")


def test_another_spelling_of_the_same_key_is_refused() -> None:
    # The last character before the padding carries two bits that base64 ignores.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = KEY[:42] + letters[letters.index(KEY[42]) ^ 1] + "="
    assert base64.b64decode(other) == base64.b64decode(KEY)
    assert _refusal(CLAIMANT.body(TOKEN, wireguardPublicKey=other)).startswith("wireguard_public_key")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 16_000, b'{"token":1' * 99]
)
def test_what_is_no_claim_is_refused(body: bytes) -> None:
    assert "is not acceptable" in _refusal(body)


@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    _refusal(body)


def test_a_refusal_never_repeats_the_token() -> None:
    token = base64.b64encode(b"secret" * 9).decode()
    assert token not in _refusal(CLAIMANT.body(TOKEN, token=token))
