"""What the control plane says of this host is checked before it reaches a terminal, a name or a rule."""

from dataclasses import replace

import pytest

from agent.identity import Identity
from tests.support.agent_state import identity, tunnel_settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agent_id", ""),
        ("agent_id", "agt.evil"),
        ("agent_id", "-agt"),
        ("agent_name", "host\x1b]0;owned\x07"),
        ("tenant_name", "acme\nenrolled as root"),
        ("tenant_name", "a" * 257),
        ("rpc_port", 0),
        ("engine_port", 65536),
    ],
)
def test_an_identity_that_will_not_do_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(identity(tunnel_settings()), **{field: value})  # type: ignore[arg-type]


def test_names_in_any_script_are_fine() -> None:
    named = replace(identity(None), agent_name="Würfel 1 (GPU)", tenant_name="株式会社")
    assert Identity.load(named.dump()) == named
