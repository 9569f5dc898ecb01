"""The CLI's side of REST: where the control plane is, whom to trust, and what its refusals mean."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import httpx2
import typer

from control_plane.cli.context_option import CONTEXT_ENVIRONMENT, context_from_environment, named_context
from control_plane.cli.contexts_file import Context, contexts_file, load_contexts
from control_plane.cli.failure import Failure, Unreachable
from control_plane.cli.waiting import waiting
from control_plane.config import DEFAULT_DATA, Address, DataDirectory, InvalidSetting, load_settings

TIMEOUT_S = 30.0
DATA = DEFAULT_DATA
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}

Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="DAALU_URL", help="The control plane's address; default: the data directory's."
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="DAALU_TOKEN", help="The operator's token.", show_envvar=True),
]
Data = Annotated[
    Path,
    typer.Option("--data", envvar="DAALU_DATA", help="The control plane's data directory, on this machine."),
]
Json = Annotated[bool, typer.Option("--json", help="What REST answered, as JSON.")]


@dataclass(frozen=True, slots=True)
class Target:
    """A control plane to speak to."""

    url: str
    token: str = field(repr=False)
    # Trust this certificate (PEM) and no other; None: the system's authorities.
    certificate_pem: str | None


def find_target(url: str | None, token: str | None, data: Path) -> Target:
    """Where the control plane is. Raises Failure.

    What the command line says goes before the environment, that before the context in use, and that before
    the data directory of this machine.
    """
    name = _context_in_force(url, data)
    return _target_at(url, token, data) if name is None else _target_of(name, token)


def local_directory(url: str | None, data: Path) -> Path | None:
    """The data directory by which `find_target` goes; None: it goes by an address. Raises Failure."""
    name = _context_in_force(url, data)
    if name is None:
        return data if url is None else None
    directory = load_contexts(contexts_file()).find(name).data
    return None if directory is None else Path(directory)


def _context_in_force(url: str | None, data: Path) -> str | None:
    """None: address and directory say where. Raises Failure where two say so."""
    from_environment = {
        "--url": url is not None and url == os.environ.get("DAALU_URL"),
        "--data": str(data) == os.environ.get("DAALU_DATA"),
    }
    said = {"--url": url is not None, "--data": data != DATA}
    by_flag = [flag for flag, given in said.items() if given and not from_environment[flag]]
    by_environment = [flag for flag, given in said.items() if given and from_environment[flag]]
    if (name := named_context()) is not None:
        if by_flag:
            raise Failure(f"--context and {by_flag[0]} both say where the control plane is: give one")
        return name
    if by_flag:
        return None
    if (name := context_from_environment()) is not None:
        if by_environment:
            variable = f"DAALU_{by_environment[0].removeprefix('--').upper()}"
            raise Failure(f"{CONTEXT_ENVIRONMENT} and {variable} are both set: unset one, or give --context")
        return name
    return None if by_environment else load_contexts(contexts_file()).current


def _target_of(name: str, token: str | None) -> Target:
    """A token of the environment is not sent to a control plane of which another token is kept."""
    context = load_contexts(contexts_file()).find(name)
    has_its_own = context.token is not None or context.data is not None
    if token == os.environ.get("DAALU_TOKEN") and has_its_own:
        token = context.token
    if context.data is not None:
        return _target_at(None, token, Path(context.data))
    token = token or context.token
    if token is None:
        raise Failure(f"no token is kept for the context {name}: give DAALU_TOKEN or --token, or add it anew")
    return target_of(replace(context, token=token))


def target_of(context: Context) -> Target:
    """Of a context that has address and token of its own. Raises Failure."""
    return Target(check_private(context.url or ""), context.token or "", context.certificate_pem)


def _target_at(url: str | None, token: str | None, data: Path) -> Target:
    directory = DataDirectory(data)
    certificate = None
    if _readable(directory.tls_certificate):
        # What is no text is no certificate either, and is told as such.
        certificate = directory.tls_certificate.read_text(errors="replace")
    if url is None:
        try:
            url = _local_url(load_settings(data).listen)
        except InvalidSetting as error:
            raise Failure(f"{error}; or say where the control plane is: --url and --token") from error
    url = check_private(url)
    if token is None:
        try:
            token = directory.operator_token.read_text().strip()
        except OSError as error:
            raise Failure(
                f"no operator's token: {directory.operator_token}: {error.strerror}."
                " Give --token or DAALU_TOKEN, or run as the user who ran `daalu init`"
            ) from error
    return Target(url, token, certificate)


def ask(target: Target, method: str, path: str, **arguments: Any) -> Any:
    """The decoded JSON answer. `path` under /api/v1. Raises Failure for everything but success."""
    with waiting(f"waiting for {target.url}"):
        return ask_quietly(target, method, path, **arguments)


def ask_quietly(target: Target, method: str, path: str, **arguments: Any) -> Any:
    """`ask` for who shows something on the terminal meanwhile."""
    return _decoded(target, _answer(target, method, path, **arguments))


def ask_text(target: Target, path: str) -> str:
    """A file that REST serves, as it is. Raises Failure for everything but success."""
    with waiting(f"waiting for {target.url}"):
        return _answer(target, "GET", path).text


def _answer(target: Target, method: str, path: str, **arguments: Any) -> httpx2.Response:
    with reaching(target) as client:
        response = client.request(method, f"{target.url}/api/v1{path}", **arguments)
    if response.is_success:
        return response
    raise Failure(_refusal(target, response.status_code, _decoded(target, response)))


@contextmanager
def reaching(target: Target) -> Iterator[httpx2.Client]:
    """A client that presents the target's token. What HTTP cannot do within the block is a Failure."""
    try:
        with httpx2.Client(
            verify=trust(target.certificate_pem),
            timeout=TIMEOUT_S,
            headers={"authorization": f"Bearer {target.token}"},
        ) as client:
            yield client
    except httpx2.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Failure(
                f"{target.url} shows a certificate that is not trusted here: point --data at the control"
                " plane's directory, or install its authority"
            ) from error
        raise Unreachable(
            f"the control plane does not answer at {target.url}: is `daalu serve` running? ({error})"
        ) from error
    except httpx2.TimeoutException as error:
        raise Unreachable(f"{target.url} did not answer within {TIMEOUT_S:.0f} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unreachable(f"speaking to {target.url} failed: {str(error) or type(error).__name__}") from error


def _decoded(target: Target, response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise Failure(f"what answers at {target.url} is not a Daalu control plane") from error


def check_private(url: str) -> str:
    """The address as it is used. Raises Failure where the operator's token would travel readable."""
    try:
        parts = urlsplit(url)
        address = Address(parts.hostname or "", parts.port or 443)
    except ValueError:
        raise Failure(f"--url {url!r} is no address: write https://host:port") from None
    if parts.scheme not in ("https", "http") or not address.host:
        raise Failure(f"--url {url!r} is no address: write https://host:port")
    if parts.scheme == "http" and not address.is_loopback:
        raise Failure(f"--url {url!r}: the operator's token would travel readable, use https://")
    return url.rstrip("/")


def segment(identifier: str) -> str:
    """An id or a name as one segment of a path, whatever is in it."""
    return quote(identifier, safe="")


def _refusal(target: Target, status: int, body: Any) -> str:
    if status == 401:
        return f"{target.url} refused the operator's token: give the one in its data directory with --token"
    return refusal_in_words(target, status, body)


def refusal_in_words(target: Target, status: int, body: Any) -> str:
    """What the control plane said, REST's and the gateway's answers alike."""
    try:
        return str(body["error"]["message"])
    except (KeyError, TypeError):
        return f"{target.url} answered with status {status} and no reason"


def trust(certificate_pem: str | None) -> ssl.SSLContext:
    """Raises Failure."""
    if certificate_pem is None:
        return ssl.create_default_context()
    # This one certificate, whatever names are in it: stronger than any name an authority vouches for.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificate_pem)
    except (ssl.SSLError, TypeError) as error:  # TypeError: not ASCII
        raise Failure(f"what should be the control plane's certificate is none: {error}") from error
    return context


def _local_url(listen: tuple[str, int]) -> str:
    host, port = listen
    bracketed = f"[{host}]" if ":" in host else host
    return f"https://{_WILDCARDS.get(host, bracketed)}:{port}"


def _readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)
