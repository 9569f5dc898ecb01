"""What an identity provider's token must say before anybody is let in by it. Pure: the time comes in."""

from collections.abc import Mapping
from typing import Any

from control_plane.console.oidc.settings import OidcSettings

# Between the provider's clock and ours.
LEEWAY_S = 60
MOST_EMAIL_CHARACTERS = 254


class NotGood(Exception):
    """The token is not one of this sign-in; the message says what is wrong with it."""


class NotAdmitted(Exception):
    """The provider knows the person; that is not enough here. The message is for them."""


def verified_email(claims: Mapping[str, Any], settings: OidcSettings, *, nonce: str, now_s: float) -> str:
    """The address, in small letters. Raises NotGood, or NotAdmitted.

    OpenID Connect Core 1.0, 3.1.3.7, of a token whose signature is good.
    """
    if claims.get("iss") != settings.issuer:
        raise NotGood("it is of another issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if settings.client_id not in audiences:
        raise NotGood("it is for another program than this one")
    party = claims.get("azp")
    if (party is not None or len(audiences) > 1) and party != settings.client_id:
        raise NotGood("it was made for another program than this one")
    expires_s, issued_s = _number(claims, "exp"), _number(claims, "iat")
    if now_s >= expires_s + LEEWAY_S:
        raise NotGood("it has expired; are the clocks of this host and the provider right?")
    if issued_s > now_s + LEEWAY_S:
        raise NotGood("it is from the future; are the clocks of this host and the provider right?")
    if claims.get("nonce") != nonce:
        raise NotGood("it answers another sign-in")
    email = claims.get("email")
    if not isinstance(email, str) or not 3 <= len(email) <= MOST_EMAIL_CHARACTERS or not email.isprintable():
        raise NotAdmitted(
            "Your identity provider did not say your e-mail address: its scope email is needed."
        )
    email = email.lower()
    # The word "true" is no proof: only the value is.
    if claims.get("email_verified") is not True:
        raise NotAdmitted(
            f"Your identity provider has not verified the address {email}: verify it there first."
        )
    if settings.email_domain is not None and email.rpartition("@")[2] != settings.email_domain:
        raise NotAdmitted(f"Only addresses of {settings.email_domain} may sign in this way.")
    return email


def _number(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise NotGood(f"its {name} is missing")
    return float(value)
