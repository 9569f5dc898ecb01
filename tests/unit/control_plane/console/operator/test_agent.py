"""What an agent's page makes of a history that cannot be read."""

from pathlib import Path

from control_plane.console.operator.agent import history_of
from control_plane.store.tables import Agent


def test_a_history_that_cannot_be_read_is_no_history(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"
    path.write_bytes(b"this is no database" * 100)
    agent = Agent(
        id="agt-x", tenant_id="ten-x", name="x", connection="direct", rpc_port=1, engine_port=2,
        wireguard_public_key="w", tls_key_sha256=b"t", certificate_pem="", certificate_expires_unix_ms=1,
        agent_version="0", created_unix_ms=1,
    )  # fmt: skip
    assert history_of(path, agent) == (None, None)
