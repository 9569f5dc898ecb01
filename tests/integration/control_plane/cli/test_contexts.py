"""Several control planes by name, against two that run."""

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane, daalu, initialised, serving


@dataclass(frozen=True, slots=True)
class Operator:
    """With a configuration directory of their own, and nothing in the environment that says where to go."""

    home: Path

    @property
    def file(self) -> Path:
        return self.home / "daalu" / "contexts.json"

    def daalu(self, *arguments: str, **environment: str) -> str:
        """What a command that succeeds prints."""
        result = daalu(*arguments, XDG_CONFIG_HOME=str(self.home), **environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def fails(self, *arguments: str, code: int = 1, **environment: str) -> str:
        result = daalu(*arguments, XDG_CONFIG_HOME=str(self.home), **environment)
        assert (result.returncode, result.stdout) == (code, ""), result.stderr
        return result.stderr

    def tenants(self, *flags: str, **environment: str) -> list[str]:
        return [
            each["name"]
            for each in json.loads(self.daalu("tenants", "list", "--json", *flags, **environment))
        ]

    def add(self, name: str, plane: ControlPlane, *flags: str) -> str:
        token, certificate = str(plane.data / "operator-token"), str(plane.data / "tls/server.pem")
        trusted = ("--token-file", token, "--certificate", certificate)
        return self.daalu("contexts", "add", name, "--address", plane.tls_url, *trusted, *flags)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, ControlPlane]]:
    first = initialised(tmp_path_factory.mktemp("first") / "data")
    second = initialised(tmp_path_factory.mktemp("second") / "data")
    with serving(first), serving(second):
        first.daalu("tenants", "create", "of-first")
        second.daalu("tenants", "create", "of-second")
        yield first, second


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "config")


def test_commands_go_to_the_context_that_is_named_or_else_in_use(
    operator: Operator, planes: tuple[ControlPlane, ControlPlane]
) -> None:
    first, second = planes
    assert "and in use" in operator.add("one", first)
    assert "in use" not in operator.add("two", second)
    assert operator.tenants() == ["of-first"]
    assert operator.tenants("--context", "two") == ["of-second"]
    assert operator.tenants(DAALU_CONTEXT="two") == ["of-second"]
    assert operator.daalu("contexts", "use", "two") == "two is in use\n"
    assert operator.tenants() == ["of-second"]
    assert operator.tenants("--context", "one", DAALU_CONTEXT="two") == ["of-first"]


def test_the_way_by_flags_and_environment_still_works_and_goes_first(
    operator: Operator, planes: tuple[ControlPlane, ControlPlane]
) -> None:
    first, second = planes
    operator.add("one", first)
    assert operator.tenants("--data", str(second.data)) == ["of-second"]
    assert operator.tenants(DAALU_DATA=str(second.data)) == ["of-second"]
    assert operator.tenants("--url", second.plain_url, "--token", second.token) == ["of-second"]
    assert operator.tenants("--context", "one", DAALU_DATA=str(second.data)) == ["of-first"]
    said = operator.fails("tenants", "list", "--context", "one", "--url", second.plain_url)
    assert said == "daalu: --context and --url both say where the control plane is: give one\n"
    said = operator.fails("tenants", "list", DAALU_CONTEXT="one", DAALU_DATA=str(second.data))
    assert "DAALU_CONTEXT and DAALU_DATA are both set" in said


def test_tokens_are_kept_privately_and_never_printed(
    operator: Operator, planes: tuple[ControlPlane, ControlPlane]
) -> None:
    first, _ = planes
    printed = operator.add("one", first) + operator.daalu("contexts", "list")
    listed = operator.daalu("contexts", "list", "--json")
    assert first.token not in printed + listed
    assert json.loads(listed) == [
        {
            "name": "one", "current": True, "url": first.tls_url, "data": None, "token_kept": True,
            "certificate_pinned": True,
        }
    ]  # fmt: skip
    assert stat.S_IMODE(operator.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(operator.file.parent.stat().st_mode) == 0o700
    operator.file.chmod(0o644)
    assert "chmod 600" in operator.fails("contexts", "list")
    assert "chmod 600" in operator.fails("tenants", "list", "--context", "one")


def test_a_token_that_is_not_kept_comes_from_the_environment_and_goes_to_no_other_control_plane(
    operator: Operator, planes: tuple[ControlPlane, ControlPlane]
) -> None:
    first, second = planes
    operator.daalu("contexts", "add", "bare", "--address", first.plain_url, "--token-file", "none")
    assert "no token is kept for the context bare" in operator.fails("tenants", "list")
    assert operator.tenants(DAALU_TOKEN=first.token) == ["of-first"]
    operator.add("two", second)
    assert operator.tenants("--context", "two", DAALU_TOKEN=first.token) == ["of-second"]
    assert "refused the operator's token" in operator.fails(
        "tenants", "list", "--context", "two", "--token", first.token
    )


def test_a_context_may_be_a_data_directory(
    operator: Operator, planes: tuple[ControlPlane, ControlPlane]
) -> None:
    first, second = planes
    operator.daalu("contexts", "add", "here", "--directory", str(second.data))
    assert operator.tenants() == ["of-second"]
    assert operator.tenants(DAALU_TOKEN=first.token) == ["of-second"]
    assert second.token not in operator.file.read_text()


def test_what_is_wrong_is_told_before_anything_is_kept(
    operator: Operator, planes: tuple[ControlPlane, ControlPlane], tmp_path: Path
) -> None:
    first, second = planes
    wrong = tmp_path / "wrong"
    wrong.write_text("dop-wrong\n")
    at = ("contexts", "add", "one", "--address", first.tls_url)
    assert "a certificate that is not trusted" in operator.fails(*at, "--token-file", str(wrong))
    pinned = ("--certificate", str(first.data / "tls/server.pem"))
    assert "refused the operator's token" in operator.fails(*at, *pinned, "--token-file", str(wrong))
    others = ("--certificate", str(second.data / "tls/server.pem"))
    assert "not trusted" in operator.fails(*at, *others, "--token-file", str(first.data / "operator-token"))
    assert "is none" in operator.fails(*at, "--certificate", str(wrong), "--token-file", str(wrong))
    assert "--address https://host:port, or --directory" in operator.fails("contexts", "add", "one")
    assert "would travel readable" in operator.fails(
        "contexts", "add", "one", "--address", "http://192.0.2.1"
    )
    assert "--token-file FILE" in operator.fails(*at, *pinned)
    assert "not '../x'" in operator.fails("contexts", "add", "../x", "--address", first.tls_url)
    assert "run `daalu init" in operator.fails("contexts", "add", "x", "--directory", str(tmp_path))
    assert not operator.file.exists()


def test_a_context_is_forgotten_when_that_is_meant(
    operator: Operator, planes: tuple[ControlPlane, ControlPlane]
) -> None:
    first, _ = planes
    operator.add("one", first)
    assert "there is a context 'one' already" in operator.fails(
        "contexts", "add", "one", "--directory", str(first.data)
    )
    assert "Give --yes where you are sure" in operator.fails("contexts", "remove", "one")
    assert "no context is in use now" in operator.daalu("contexts", "remove", "one", "--yes")
    assert operator.daalu("contexts", "list").startswith("no contexts:")
    assert first.token not in operator.file.read_text()
    for command in ("use", "remove"):
        assert "there is no context 'one'" in operator.fails("contexts", command, "one")
    assert "there is no context 'one'" in operator.fails("tenants", "list", "--context", "one")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"contexts": {"x": {"no": 1}}, "current": null}', '{"contexts": 3}']
)
def test_a_file_that_is_not_ours_is_told_by_name(operator: Operator, content: str) -> None:
    operator.file.parent.mkdir(parents=True)
    operator.file.touch(mode=0o600)
    operator.file.write_text(content)
    said = operator.fails("contexts", "list")
    assert said.startswith(f"daalu: {operator.file} is not what")
    assert said.count("\n") == 1
