"""Rows of the store that tests of the fleet start from."""

from sqlmodel import Session

from control_plane.store.tables import Agent, ApiKey, Attempt, Call, Connection, Tenant


def add_tenant_and_agents(session: Session, *agent_ids: str) -> None:
    session.add(Tenant(id="ten-1", name="acme", created_unix_ms=1))
    session.flush()
    key = ApiKey(
        id="key-1",
        tenant_id="ten-1",
        name="k",
        hint="h",
        hash_sha256=b"h",
        purpose="general",
        created_unix_ms=1,
    )
    session.add(key)
    for number, agent_id in enumerate(agent_ids):
        session.add(
            Agent(
                id=agent_id,
                tenant_id="ten-1",
                name=agent_id,
                connection=Connection.TUNNEL,
                tunnel_address=f"fd00::{number + 1}",
                rpc_port=7443,
                engine_port=7400,
                wireguard_public_key=agent_id,
                tls_key_sha256=agent_id.encode(),
                certificate_pem="",
                certificate_expires_unix_ms=1,
                agent_version="0.1.0",
                created_unix_ms=1,
            )
        )
    session.flush()


def add_running_call(
    session: Session, call_id: str, *attempts: tuple[str, str], started_unix_ms: int = 1_000
) -> None:
    """A call in RUNNING with attempts (attempt id, agent id), the first 10 ms after the call's start."""
    session.add(
        Call(
            id=call_id,
            tenant_id="ten-1",
            api_key_id="key-1",
            purpose="general",
            path="/v1/chat/completions",
            model="tiny",
            streamed=True,
            outcome="running",
            started_unix_ms=started_unix_ms,
            decision="{}",
        )
    )
    session.flush()
    for number, (attempt_id, agent_id) in enumerate(attempts, start=1):
        session.add(
            Attempt(
                id=attempt_id,
                call_id=call_id,
                number=number,
                tier="own",
                agent_id=agent_id,
                agent_tenant_id="ten-1",
                outcome="running",
                started_unix_ms=started_unix_ms + 10 * number,
            )
        )
    session.flush()
