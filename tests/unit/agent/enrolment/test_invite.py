"""Invites: what is taken, and what a damaged one is told."""

import pytest

from agent.enrolment import InvalidInvite, parse_invite
from tests.support.enrolment_server import invite_text

GOOD = {"url": "https://control.example:8443", "token": b"t" * 32, "control_plane_key_sha256": b"k" * 32}


def test_an_invite_is_read_with_the_white_space_that_mail_adds() -> None:
    text = invite_text(**GOOD)
    invite = parse_invite(f"  {text[:40]}\n {text[40:]}\r\n")
    there = invite.control_plane
    assert (there.host, there.port, there.url) == ("control.example", 8443, "https://control.example:8443")
    assert (invite.token, there.key_sha256) == (b"t" * 32, b"k" * 32)
    assert "ttt" not in repr(invite)


def test_an_address_in_brackets_and_a_missing_port() -> None:
    assert (
        parse_invite(invite_text(**{**GOOD, "url": "https://[2001:db8::1]"})).control_plane.url
        == "https://[2001:db8::1]:443"
    )


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("192.0.2.1", False),
        ("localhost.evil", False),
    ],
)
def test_only_loopback_is_this_machine(host: str, here: bool) -> None:
    invite = parse_invite(invite_text(**{**GOOD, "url": f"https://{host}:1"}))
    assert invite.control_plane.names_this_machine is here


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no invite"),
        ("sk-12345", "no invite"),
        ("daalu-invite-" + "A" * 5000, "no invite"),
        ("daalu-invite-%%%", "damaged"),
        (invite_text(**GOOD)[:-20], "copy the whole"),
        (invite_text(**{**GOOD, "token": b"short"}), "cut short"),
        (invite_text(**{**GOOD, "control_plane_key_sha256": b""}), "cut short"),
        (invite_text(**{**GOOD, "url": "http://control.example"}), "no https"),
        (invite_text(**{**GOOD, "url": "https://u@control.example"}), "no https"),
        (invite_text(**{**GOOD, "url": "https://control.example:99999"}), "Port out of range"),
        (invite_text(**{**GOOD, "url": "https://control.example/path"}), "no https"),
    ],
)
def test_what_is_wrong_is_said_without_the_token(text: str, words: str) -> None:
    with pytest.raises(InvalidInvite, match=words) as caught:
        parse_invite(text)
    assert "ttt" not in str(caught.value)
