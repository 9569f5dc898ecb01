"""What stands for a part that a deployment does not have."""

from collections.abc import Container
from typing import NoReturn

from control_plane.economy import Tokens
from control_plane.gateway.ports import AnswerText
from control_plane.gateway.request import InferenceRequest


class NoCounting:
    """No tokenizers: no model is served on third-party cards, so nothing is ever counted."""

    @property
    def models(self) -> Container[str]:
        return frozenset()

    def text_of(self, request: InferenceRequest) -> AnswerText:
        _impossible()

    async def prompt_tokens(self, model_id: str, request: InferenceRequest) -> int:
        _impossible()

    async def count(self, model_id: str, request: InferenceRequest, text: AnswerText) -> Tokens:
        _impossible()


def _impossible() -> NoReturn:
    raise AssertionError("a plan named what the gateway was built without")
