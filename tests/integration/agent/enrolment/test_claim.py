"""Enrolment against a real HTTPS server: every fault in one line, and nothing said to the wrong server."""

import datetime as dt
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.enrolment import (
    Enrolled,
    EnrolmentError,
    Host,
    Refused,
    Unreachable,
    WrongKey,
    claim,
    connection,
    parse_invite,
)
from agent.identity import State
from agent.main import main
from tests.support.enrolment_server import EnrolmentServer, enrolment_server, invite_text, refusal


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EnrolmentServer]:
    with enrolment_server(tmp_path) as running:
        yield running


def _claim(
    invite: str, directory: Path, *, direct: bool = False, timeout_s: float = 20.0
) -> tuple[Enrolled, list[str]]:
    lines: list[str] = []
    host = Host("host-1", "0.1.0", 7443, 7400, direct)
    with State.locked(directory) as state:
        return claim(parse_invite(invite), host, state, timeout_s=timeout_s, report=lines.append), lines


def _fault(invite: str, directory: Path, **options: float | bool) -> EnrolmentError:
    with pytest.raises(EnrolmentError) as caught:
        _claim(invite, directory, **options)  # type: ignore[arg-type]
    assert State(directory).identity() is None
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_claim_is_answered_and_kept(server: EnrolmentServer, tmp_path: Path) -> None:
    enrolled, lines = _claim(server.invite(), tmp_path / "state")
    state = State(tmp_path / "state")
    assert state.identity() == enrolled.identity
    assert (enrolled.warning, lines) == (None, [])
    assert enrolled.identity.control_plane_key_sha256 == server.key_sha256.hex()
    assert not state.credentials(dt.datetime.now(dt.UTC)).self_signed
    (sent,) = server.claims
    key = state.wireguard_key()
    assert key is not None
    assert sent["wireguardPublicKey"] == key.public
    assert (sent["agentName"], sent["rpcPort"], sent["enginePort"]) == ("host-1", 7443, 7400)
    assert key.private.encode() not in server.received
    assert b"PRIVATE KEY" not in server.received


def test_a_server_with_another_key_gets_no_byte_of_the_request(
    server: EnrolmentServer, tmp_path: Path
) -> None:
    fault = _fault(server.invite(control_plane_key_sha256=b"\x01" * 32), tmp_path / "state")
    assert isinstance(fault, WrongKey)
    assert f"the server at https://127.0.0.1:{server.port} has another key than the invite names" in str(
        fault
    )
    # The same server hears what is meant for it, so that an empty record above would mean something.
    assert bytes(server.received) == b""
    _claim(server.invite(), tmp_path / "state")
    assert bytes(server.received).startswith(b"POST /enrolment/v1/claim")
    assert server.received.count(b"POST ") == 1


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("malformed", 400, "cannot read"),
        ("unknown_token", 401, "does not know this invite"),
        ("expired_token", 410, "has expired"),
        ("token_used", 409, "used already, by a host with other keys"),
        ("direct_not_allowed", 400, "--allow-direct"),
        ("revoked", 410, "see the code"),
        ("something_new", 400, "see the code"),
    ],
)
def test_a_refusal_is_said_in_words_and_not_tried_again(
    server: EnrolmentServer, tmp_path: Path, code: str, status: int, words: str
) -> None:
    server.script = [refusal(code, status)]
    fault = _fault(server.invite(), tmp_path / "state")
    assert isinstance(fault, Refused)
    assert fault.code == code
    assert words in str(fault)
    assert len(server.claims) == 1


def test_an_expired_invite_mentions_a_clock_that_is_off(server: EnrolmentServer, tmp_path: Path) -> None:
    server.script = [refusal("expired_token", 410)]
    server.clock_behind = dt.timedelta(minutes=10)
    assert "clock is 0:10:0" in str(_fault(server.invite(), tmp_path / "state"))


@pytest.mark.parametrize(("behind_s", "side"), [(300, "ahead of"), (-300, "behind")])
def test_a_clock_that_is_off_is_told_after_a_good_claim(
    server: EnrolmentServer, tmp_path: Path, behind_s: int, side: str
) -> None:
    server.clock_behind = dt.timedelta(seconds=behind_s)
    enrolled, _ = _claim(server.invite(), tmp_path / "state")
    assert enrolled.warning is not None
    assert side in enrolled.warning


def test_a_lost_reply_and_a_fault_of_the_servers_are_tried_again_with_the_same_keys(
    server: EnrolmentServer, tmp_path: Path
) -> None:
    server.script = [lambda claim: None, lambda claim: (503, b"starting")]
    _, lines = _claim(server.invite(), tmp_path / "state")
    assert len(lines) == 2
    assert "HTTP 503" in lines[1]
    keys = {(sent["wireguardPublicKey"], sent["token"]) for sent in server.claims}
    assert (len(server.claims), len(keys)) == (3, 1)


def test_a_claim_cut_off_by_a_crash_goes_on_with_the_keys_that_were_made(
    server: EnrolmentServer, tmp_path: Path
) -> None:
    with State.locked(tmp_path / "state") as state:
        wireguard, _ = state.make_keys()
    _claim(server.invite(), tmp_path / "state")
    assert server.claims[0]["wireguardPublicKey"] == wireguard.public


def test_a_port_that_nobody_serves_is_refused_and_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    invite = invite_text(url=f"https://127.0.0.1:{port}", token=b"t" * 32, control_plane_key_sha256=b"k" * 32)
    fault = _fault(invite, tmp_path / "state", timeout_s=1.0)
    assert isinstance(fault, Unreachable)
    assert "refuses connections" in str(fault)
    assert "gave up after" in str(fault)


def test_a_name_that_does_not_exist_is_a_matter_of_dns(tmp_path: Path) -> None:
    invite = invite_text(
        url="https://control.invalid:8443", token=b"t" * 32, control_plane_key_sha256=b"k" * 32
    )
    assert "cannot be resolved" in str(_fault(invite, tmp_path / "state", timeout_s=0.5))


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        invite = invite_text(
            url=f"https://127.0.0.1:{silent.getsockname()[1]}",
            token=b"t" * 32,
            control_plane_key_sha256=b"k" * 32,
        )
        assert "does not answer" in str(_fault(invite, tmp_path / "state", timeout_s=0.5))


def test_a_server_without_tls_is_told_apart(tmp_path: Path) -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=serve, args=(plain,))
        thread.start()
        port = plain.getsockname()[1]
        invite = parse_invite(
            invite_text(url=f"https://127.0.0.1:{port}", token=b"t" * 32, control_plane_key_sha256=b"k" * 32)
        )
        with pytest.raises(Unreachable, match="does not speak TLS"):
            connection.post(invite.control_plane, connection.CLAIM_PATH, b"{}", 5.0)
        thread.join()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b"\xff\xfe", b'{"agentId": 3}', b'{"agentId": "a", "tunnel": {}}']
)
def test_an_answer_that_is_no_enrolment_changes_nothing(
    server: EnrolmentServer, tmp_path: Path, body: bytes
) -> None:
    server.script = [lambda claim: (200, body)]
    assert "is it a control plane?" in str(_fault(server.invite(), tmp_path / "state"))


def test_a_4xx_without_a_reason_and_an_endless_answer_are_refusals(
    server: EnrolmentServer, tmp_path: Path
) -> None:
    server.script = [lambda claim: (404, b"<html>"), lambda claim: (200, b"x" * 300_000)]
    assert "HTTP 404" in str(_fault(server.invite(), tmp_path / "state"))
    assert "more than" in str(_fault(server.invite(), tmp_path / "state"))


def test_a_certificate_for_another_key_is_not_taken(server: EnrolmentServer, tmp_path: Path) -> None:
    def foreign(sent: dict[str, str]) -> tuple[int, bytes]:
        with State.locked(tmp_path / "other") as other:
            return server.answer(
                {**sent, "certificateRequestPem": other.make_keys()[1].certificate_request_pem()}
            )

    server.script = [foreign]
    assert "another key" in str(_fault(server.invite(), tmp_path / "state"))


def test_direct_mode_is_for_an_invite_that_names_this_machine(
    server: EnrolmentServer, tmp_path: Path
) -> None:
    enrolled, _ = _claim(server.invite(), tmp_path / "state", direct=True)
    assert enrolled.identity.direct
    elsewhere = server.invite(url="https://192.0.2.1:8443")
    assert "names 192.0.2.1" in str(_fault(elsewhere, tmp_path / "other", direct=True))


def test_enrolling_again_says_so_and_changes_nothing(
    server: EnrolmentServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "invite"
    file.write_text(server.invite() + "\n")
    command = ["enrol", str(file), "--state", str(tmp_path / "state"), "--name", "gpu-7"]
    assert main(command) == 0
    assert "enrolled as gpu-7 (agt-0123) of tenant acme" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in (tmp_path / "state").iterdir() if path.name != "lock"}
    assert main(command) == 0
    assert "already enrolled as gpu-7" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert len(server.claims) == 1
    # Also while a daemon holds the directory.
    with State.locked(tmp_path / "state"):
        assert main(command) == 0


def test_the_daemon_enrols_first_where_it_was_given_an_invite(
    server: EnrolmentServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Refused, so that no daemon starts here: what counts is that the invite was claimed.
    server.script = [refusal("expired_token", 410)]
    command = ["run", "--invite", server.invite(), "--direct", "--state", str(tmp_path / "state")]
    assert main(command) == 1
    assert "the invite has expired" in capsys.readouterr().err
    assert server.claims[0]["direct"] is True
