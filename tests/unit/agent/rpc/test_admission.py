"""Who may call what."""

import grpc
import pytest

from agent.rpc.admission import CONTROL_PLANE_NAME, RENEW_METHOD, Peer, Rule, judge

TELEMETRY = "/daalu_wire.v1.AgentService/StreamTelemetry"
HUB = "fd00::1"
CONTROL_PLANE = frozenset({CONTROL_PLANE_NAME})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ipv4:127.0.0.1:50412", "127.0.0.1"),
        ("ipv6:%5Bfd00::1%5D:50412", "fd00::1"),
        ("ipv6:[fd00::1]:50412", "fd00::1"),
        ("unix:/run/agent.sock", None),
        ("", None),
    ],
)
def test_the_peers_address_is_read_from_grpcs_words(text: str, address: str | None) -> None:
    assert Peer.of(text, {}).address == address


def test_the_peers_names_are_those_of_its_certificate() -> None:
    names = {"x509_subject_alternative_name": [b"a", b"b"], "x509_common_name": [b"c"]}
    assert Peer.of("", names).names == {"a", "b"}


@pytest.mark.parametrize("address", ["fd00::1", "fd00:0:0::0001"])
def test_the_hub_with_the_control_planes_name_is_admitted(address: str) -> None:
    assert judge(Peer(address, CONTROL_PLANE), TELEMETRY, Rule(HUB), certificate_expired=False) is None


@pytest.mark.parametrize("address", ["fd00::2", "127.0.0.1", "no address", None])
def test_in_a_tunnel_every_other_address_is_denied(address: str | None) -> None:
    refusal = judge(Peer(address, CONTROL_PLANE), TELEMETRY, Rule(HUB), certificate_expired=False)
    assert refusal is not None
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("names", [set(), {"agt_2.agent.daalu.internal"}, {"x" + CONTROL_PLANE_NAME}])
def test_every_other_name_is_denied_also_for_a_renewal(names: set[str]) -> None:
    refusal = judge(Peer(HUB, frozenset(names)), RENEW_METHOD, Rule(HUB), certificate_expired=True)
    assert refusal is not None
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(("method", "admitted"), [(RENEW_METHOD, True), (TELEMETRY, False)])
def test_with_an_expired_certificate_only_renewal_is_answered(method: str, admitted: bool) -> None:
    refusal = judge(Peer(None, CONTROL_PLANE), method, Rule(None), certificate_expired=True)
    assert (refusal is None) is admitted
    assert refusal is None or refusal.code is grpc.StatusCode.FAILED_PRECONDITION
