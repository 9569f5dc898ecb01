import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlmodel import col, select

from control_plane.store import Store
from control_plane.store.tables import Agent, Audit
from tests.integration.control_plane.enrolment.conftest import Site
from tests.support.enrolment import Claimant, new_tenant, new_token


def _word(claimant: Claimant, agent_id: str) -> bytes:
    key = claimant.tls_key
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(b"daalu-leave-1\0" + agent_id.encode(), ec.ECDSA(hashes.SHA256()))
    fields = {"tlsPublicKey": public, "signature": signature}
    encoded = {name: base64.b64encode(value).decode() for name, value in fields.items()}
    return json.dumps({"agentId": agent_id} | encoded).encode()


def _enrolled(site: Site, store: Store) -> tuple[Claimant, str]:
    claimant = Claimant()
    answer = site.claim(claimant.body(new_token(store, new_tenant(store))))
    return claimant, answer.json()["agentId"]


def _revoked(store: Store, agent_id: str) -> int | None:
    with store.reading() as session:
        return session.get_one(Agent, agent_id).revoked_unix_ms


def test_an_agent_that_leaves_is_revoked_and_the_trail_says_who_asked(site: Site, store: Store) -> None:
    claimant, agent_id = _enrolled(site, store)
    assert site.leave(_word(claimant, agent_id)).status_code == 200
    revoked = _revoked(store, agent_id)
    assert revoked is not None
    # A lost answer: the same word again changes nothing.
    assert site.leave(_word(claimant, agent_id)).status_code == 200
    assert _revoked(store, agent_id) == revoked
    with store.reading() as session:
        actors = list(session.exec(select(Audit.actor).where(col(Audit.action) == "agent.revoked")))
    assert actors == [agent_id]


def test_nobody_elses_word_counts(site: Site, store: Store) -> None:
    _, agent_id = _enrolled(site, store)
    for word in (_word(Claimant(), agent_id), _word(Claimant(), "agt-nobody")):
        answer = site.leave(word)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_agent")
    assert site.leave(b"x" * 20_000).status_code == 400
    assert _revoked(store, agent_id) is None
