import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from cryptography import x509
from sqlmodel import Session, col, select

from control_plane.enrolment import Authority
from control_plane.enrolment.claim import Hub, claim
from control_plane.enrolment.claim_request import parse_claim
from control_plane.enrolment.refusal import Refusal
from control_plane.store import Store, announce
from control_plane.store.tables import Agent, Audit, Change, ChangeKind, Invite
from control_plane.tunnel import choose_network
from tests.integration.control_plane.enrolment.conftest import HUB_KEY, Site
from tests.support.enrolment import NOW_MS, Claimant, new_tenant, new_token

HOUR_MS = 3_600_000


def _granted(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    granted: dict[str, Any] = answer.json()
    return granted


def _refused(answer: httpx2.Response, status: int, code: str) -> str:
    refusal = answer.json()
    assert (answer.status_code, refusal["code"]) == (status, code), answer.text
    message: str = refusal["message"]
    assert "\n" not in message
    return message


def _agents(store: Store) -> list[Agent]:
    with store.reading() as session:
        return list(session.exec(select(Agent).order_by(col(Agent.id))))


def _revoke(store: Store, agent_id: str) -> None:
    def unit(session: Session) -> None:
        session.get_one(Agent, agent_id).revoked_unix_ms = NOW_MS
        announce(session, ChangeKind.AGENT, agent_id)

    store.write_now(unit)


def test_a_claim_is_answered_with_all_that_an_agent_needs(
    site: Site, store: Store, authority: Authority
) -> None:
    claimant, tenant = Claimant(), new_tenant(store)
    answer = _granted(site.claim(claimant.body(new_token(store, tenant))))
    network = store.write_now(choose_network)
    tunnel = answer["tunnel"]
    assert (answer["agentName"], answer["tenantName"]) == ("host", "acme")
    assert answer["rootCertificatesPem"] == authority.root_certificates_pem
    assert tunnel["agentAddress"] in network
    assert tunnel == {
        "agentAddress": tunnel["agentAddress"],
        "hubAddress": network.hub_address,
        "network": str(network),
        "hubPublicKey": HUB_KEY,
        "hubEndpoint": "control.example:51820",
        "mtuBytes": 1280,
        "keepaliveS": 25,
    }
    certificate = x509.load_pem_x509_certificate(answer["certificatePem"].encode())
    assert certificate.public_key() == claimant.tls_key.public_key()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == [tunnel["agentAddress"]]


def test_a_claim_makes_agent_invite_audit_and_change_together(site: Site, store: Store) -> None:
    tenant = new_tenant(store)
    answer = _granted(site.claim(Claimant().body(new_token(store, tenant))))
    with store.reading() as session:
        agent = session.exec(select(Agent)).one()
        invite = session.exec(select(Invite)).one()
        entry = session.exec(select(Audit).where(Audit.action == "agent.enrolled")).one()
        change = session.exec(select(Change).where(Change.kind == ChangeKind.AGENT)).one()
    assert agent.id == answer["agentId"] == invite.agent_id == entry.subject == change.subject
    assert (agent.tenant_id, invite.claimed_unix_ms, agent.created_unix_ms) == (tenant, NOW_MS, NOW_MS)
    assert agent.tunnel_address == answer["tunnel"]["agentAddress"]


def test_the_same_keys_may_ask_again_and_get_the_same_answer(site: Site, store: Store) -> None:
    claimant, token = Claimant(), new_token(store, new_tenant(store))
    first = _granted(site.claim(claimant.body(token)))
    site.clock.now_unix_ms += 2 * HOUR_MS
    assert _granted(site.claim(claimant.body(token, rpcPort=9443))) == first
    assert [agent.rpc_port for agent in _agents(store)] == [9443]


def test_asking_again_never_brings_an_expired_certificate(site: Site, store: Store) -> None:
    claimant, token = Claimant(), new_token(store, new_tenant(store))
    first = _granted(site.claim(claimant.body(token)))
    site.clock.now_unix_ms = _agents(store)[0].certificate_expires_unix_ms
    second = _granted(site.claim(claimant.body(token)))
    assert second["certificatePem"] != first["certificatePem"]
    assert second["tunnel"] == first["tunnel"]
    assert second["agentId"] == first["agentId"]


def test_another_key_is_refused_and_audited(site: Site, store: Store) -> None:
    first, token = Claimant(), new_token(store, new_tenant(store))
    agent_id = _granted(site.claim(first.body(token)))["agentId"]
    for other in (
        Claimant(),
        Claimant(wireguard_public_key=first.wireguard_public_key),
        Claimant(tls_key=first.tls_key),
    ):
        _refused(site.claim(other.body(token)), 409, "token_used")
    with store.reading() as session:
        action = "invite.claimed_with_another_key"
        entries = session.exec(select(Audit).where(Audit.action == action)).all()
    assert [json.loads(entry.detail)["claimed_by"] for entry in entries] == [agent_id] * 3
    assert len(_agents(store)) == 1


def test_an_unknown_token_is_refused(site: Site, store: Store) -> None:
    _refused(site.claim(Claimant().body(b"?" * 32)), 401, "unknown_token")
    assert _agents(store) == []


def test_an_invite_is_good_for_an_hour(site: Site, store: Store) -> None:
    tenant = new_tenant(store)
    early, late = new_token(store, tenant), new_token(store, tenant)
    site.clock.now_unix_ms += HOUR_MS - 1
    _granted(site.claim(Claimant().body(early)))
    site.clock.now_unix_ms += 1
    _refused(site.claim(Claimant().body(late)), 410, "expired_token")


def test_a_revoked_agent_cannot_come_back_with_its_old_keys(site: Site, store: Store) -> None:
    claimant, tenant = Claimant(), new_tenant(store)
    token = new_token(store, tenant)
    _revoke(store, _granted(site.claim(claimant.body(token)))["agentId"])
    assert "revoked" in _refused(site.claim(claimant.body(token)), 410, "revoked")
    again = new_token(store, tenant)
    for keys in (
        claimant,
        Claimant(wireguard_public_key=claimant.wireguard_public_key),
        Claimant(tls_key=claimant.tls_key),
    ):
        message = _refused(site.claim(keys.body(again)), 409, "keys_known")
        assert "can't come back with its old keys" in message
    # The invite is not used up by a refusal.
    _granted(site.claim(Claimant().body(again)))


def test_another_agents_keys_are_refused(site: Site, store: Store) -> None:
    claimant, tenant = Claimant(), new_tenant(store)
    _granted(site.claim(claimant.body(new_token(store, tenant))))
    foreign = new_token(store, new_tenant(store, "other"))
    _refused(site.claim(claimant.body(foreign)), 409, "keys_known")
    assert len(_agents(store)) == 1


def test_the_hubs_own_key_is_refused(site: Site, store: Store) -> None:
    token = new_token(store, new_tenant(store))
    message = _refused(site.claim(Claimant(wireguard_public_key=HUB_KEY).body(token)), 400, "malformed")
    assert message.startswith("wireguard_public_key")


def test_names_are_unique_within_a_tenant_only(site: Site, store: Store) -> None:
    tenant, other = new_tenant(store), new_tenant(store, "other")
    longest = "x" * 64
    names = [
        _granted(site.claim(Claimant().body(new_token(store, owner), agentName=name)))["agentName"]
        for owner, name in (
            (tenant, "host"),
            (tenant, "host"),
            (tenant, "host"),
            (other, "host"),
            (tenant, longest),
            (tenant, longest),
        )
    ]
    assert names == ["host", "host-2", "host-3", "host", longest, "x" * 62 + "-2"]


def test_two_claims_of_one_token_at_once_make_one_agent(site: Site, store: Store) -> None:
    tenant = new_tenant(store)
    for _ in range(5):
        token = new_token(store, tenant)
        bodies = [Claimant().body(token) for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            statuses = sorted(answer.status_code for answer in threads.map(site.claim, bodies))
        assert statuses == [200, 409, 409, 409]
    assert len(_agents(store)) == 5


def test_two_processes_cannot_both_grant_one_token(site: Site, store: Store, authority: Authority) -> None:
    """A store of its own is what another process has: its own connections, its own writer."""
    other = Store(store.url.render_as_string(hide_password=False))
    try:
        tenant, hub = new_tenant(store), Hub(HUB_KEY, "control.example:51820")
        store.write_now(choose_network)
        for _ in range(10):
            token = new_token(store, tenant)
            requests = [parse_claim(Claimant().body(token)) for _ in range(2)]
            with ThreadPoolExecutor(2) as threads:
                outcomes = list(
                    threads.map(
                        lambda where, request: where.write_now(
                            lambda session: claim(session, request, authority, hub, NOW_MS)
                        ),
                        (store, other),
                        requests,
                    )
                )
            assert [isinstance(outcome, Refusal) for outcome in outcomes].count(True) == 1
    finally:
        other.close()
    assert len(_agents(store)) == 10


@pytest.mark.parametrize(
    ("allow_direct", "headers", "granted"),
    [(True, {}, True), (False, {}, False), (True, {"x-forwarded-for": "198.51.100.7"}, False)],
    indirect=["allow_direct"],
)
def test_direct_mode_is_for_loopback_and_only_where_allowed(
    site: Site, store: Store, headers: dict[str, str], granted: bool
) -> None:
    body = Claimant().body(new_token(store, new_tenant(store)), direct=True)
    answer = site.claim(body, **headers)
    if not granted:
        _refused(answer, 403, "direct_not_allowed")
        return
    assert "tunnel" not in _granted(answer)
    assert [(agent.connection, agent.tunnel_address) for agent in _agents(store)] == [("direct", None)]


@pytest.mark.parametrize("allow_direct", [True], indirect=True)
def test_the_mode_of_the_first_claim_stays(site: Site, store: Store) -> None:
    claimant, token = Claimant(), new_token(store, new_tenant(store))
    _granted(site.claim(claimant.body(token, direct=True)))
    assert "direct mode" in _refused(site.claim(claimant.body(token)), 409, "token_used")


def test_a_body_that_is_too_large_is_refused(site: Site, store: Store) -> None:
    body = Claimant().body(new_token(store, new_tenant(store)), agentVersion="v" * 20_000)
    assert "larger than" in _refused(site.claim(body), 400, "malformed")


def test_a_malformed_claim_names_its_field_and_uses_nothing_up(site: Site, store: Store) -> None:
    token = new_token(store, new_tenant(store))
    message = _refused(site.claim(Claimant().body(token, rpcPort=70_000)), 400, "malformed")
    assert message.startswith("rpc_port")
    _granted(site.claim(Claimant().body(token)))
