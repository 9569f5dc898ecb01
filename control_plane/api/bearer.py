"""The one token that a request presents."""

from fastapi import Request


def presented_bearer(request: Request) -> str | None:
    """None where there is none, and where there are two: nobody knows which is meant."""
    presented = request.headers.getlist("authorization")
    kind, _, text = (presented[0] if len(presented) == 1 else "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else None
