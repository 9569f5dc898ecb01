"""oidc.toml: the identity provider that tenants' users may sign in with, where there is one."""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.config import InvalidSetting
from control_plane.vendors import Fields, key_from_file, parse_base_url

MOST_FILE_BYTES = 65_536
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+\Z")


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """`issuer` exactly as the provider writes it into its tokens. `email_domain`: addresses of this domain
    only, in small letters; None: of any. `name`: what the provider is called on the sign-in page."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str = "single sign-on"
    email_domain: str | None = None


def load_oidc(path: Path) -> OidcSettings | None:
    """None where the file is not there. Raises InvalidSetting, which names the file and the field."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MOST_FILE_BYTES:
        raise InvalidSetting(f"{path} is larger than {MOST_FILE_BYTES} bytes")
    try:
        fields = Fields(str(path), tomllib.loads(raw.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not valid TOML: {error}") from None
    if fields.has("client_secret"):
        fields.refuse(
            "client_secret",
            "must not stand in this file: put it into a file of mode 0600, client_secret_file",
        )
    issuer = fields.text("issuer")
    try:
        parse_base_url(issuer)
        secret = key_from_file(path.parent / fields.text("client_secret_file"))
    except InvalidSetting as error:
        raise InvalidSetting(f"{path}: {error}") from None
    domain = fields.optional_text("email_domain")
    if domain is not None and not _DOMAIN.match(domain):
        fields.refuse("email_domain", "must be a domain in small letters, like example.com")
    settings = OidcSettings(
        issuer=issuer,
        client_id=fields.text("client_id"),
        client_secret=secret,
        name=fields.optional_text("name") or "single sign-on",
        email_domain=domain,
    )
    fields.end()
    return settings
