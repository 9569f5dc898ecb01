"""How a host becomes an agent.

An *invite* is a token that an operator hands to an owner; a host *claims* it with the public halves of its
keys and is answered with an id, a certificate and its end of the tunnel. The *authority* signs the
certificates by which agents and control plane know each other. A key is *pinned* by its SHA-256.
"""

from control_plane.enrolment.authority import Authority, AuthorityUnusable, BadCertificateRequest
from control_plane.enrolment.invites import NewInvite, create_invite
from control_plane.enrolment.keys import file_key_sha256, key_sha256
from control_plane.enrolment.routes import enrolment_routes
from control_plane.enrolment.server_certificate import create_server_certificate

__all__ = [
    "Authority",
    "AuthorityUnusable",
    "BadCertificateRequest",
    "NewInvite",
    "create_invite",
    "create_server_certificate",
    "enrolment_routes",
    "file_key_sha256",
    "key_sha256",
]
