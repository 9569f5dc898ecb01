"""A vendor's base URL, as its documentation gives it to OpenAI's clients."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from control_plane.config import Address, InvalidSetting, is_host

_PORTS = {"https": 443, "http": 80}
# What a path may have in it as it goes out, less "%": a prefix that needs escapes is a mistake.
_PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*\Z")


@dataclass(frozen=True, slots=True)
class BaseUrl:
    tls: bool
    host: str
    port: int
    # In front of "/chat/completions", without a slash at its end: "/v1", or "".
    prefix: str

    @property
    def authority(self) -> str:
        """For the Host header: without the port where it is the scheme's own, as vendors' proxies expect."""
        if self.port == _PORTS["https" if self.tls else "http"]:
            return f"[{self.host}]" if ":" in self.host else self.host
        return str(Address(self.host, self.port))


def parse_base_url(text: str) -> BaseUrl:
    """Raises InvalidSetting, whose message does not repeat a URL that may have a password in it."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise InvalidSetting("is no URL: write https://host/path") from None
    if "@" in url.netloc:
        raise InvalidSetting("has a user name or password in it: the key goes into key_file alone")
    if "?" in text or "#" in text:
        raise InvalidSetting(f"{text!r} has a query or fragment: write https://host/path and nothing more")
    if url.scheme not in _PORTS or not text.isascii() or not is_host(host):
        raise InvalidSetting(f"{text!r} must be https://host/path (a host that is not in ASCII as xn--…)")
    if port == 0:
        raise InvalidSetting(f"{text!r}: ports go from 1 to 65535")
    address = Address(host, port or _PORTS[url.scheme])
    if url.scheme == "http" and not address.is_loopback:
        raise InvalidSetting(
            f"{text!r}: the key and prompts would travel readable; plain http is for loopback"
        )
    prefix = url.path.rstrip("/")
    if not _PREFIX.match(prefix) or {".", ".."} & set(prefix.split("/")):
        raise InvalidSetting(f"{text!r} has a path with empty, dotted or escaped parts")
    return BaseUrl(url.scheme == "https", host, address.port, prefix)
