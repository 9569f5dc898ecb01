"""The operator's token: what the REST interface demands and the CLI presents."""

import hashlib
import hmac
import secrets
from pathlib import Path

PREFIX = "dop-"


class OperatorToken:
    """Holds a hash only, so that no dump of this process's objects shows the token."""

    def __init__(self, text: str) -> None:
        self._digest = hashlib.sha256(text.encode()).digest()

    @staticmethod
    def new() -> str:
        """256 random bits, as text."""
        return PREFIX + secrets.token_urlsafe(32)

    @classmethod
    def load(cls, path: Path) -> "OperatorToken":
        """Raises OSError, or ValueError naming the file where it holds no token."""
        text = path.read_text().strip()
        if not text.startswith(PREFIX):
            raise ValueError(f"{path} holds no operator token: delete it and run `daalu init` again")
        return cls(text)

    def matches(self, presented: str) -> bool:
        """Takes the same time whatever is presented."""
        return hmac.compare_digest(hashlib.sha256(presented.encode()).digest(), self._digest)

    @property
    def tag(self) -> bytes:
        """32 bytes that say which token this is, and nothing of it: sessions end with their token."""
        return hashlib.sha256(b"daalu-operator-session" + self._digest).digest()
