"""The gateway's own count of a call's tokens, in threads of its own."""

import asyncio
import logging
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor

from control_plane.catalogue import Counter, Tokenizers, Uncountable
from control_plane.catalogue.chat_template import RENDERING_FAILED
from control_plane.economy import Tokens
from control_plane.gateway.answer_text import CollectedAnswer
from control_plane.gateway.ports import AnswerText
from control_plane.gateway.request import InferenceRequest

logger = logging.getLogger(__name__)

# A count of 1,000 tokens takes some milliseconds; what is large takes seconds, and must not keep the others
# waiting.
_AT_ONCE = 2


class OwnCounting:
    """The port Counting, with the tokenizers that the operator has put beside the catalogue.

    What cannot be counted, which is rare since such calls are not planned on third-party cards, is taken to
    have as many tokens as it can have at most: a claim is then believed up to that.
    """

    def __init__(self, tokenizers: Tokenizers) -> None:
        self._tokenizers = tokenizers
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="token-count")

    @property
    def models(self) -> Set[str]:
        return self._tokenizers.models

    def text_of(self, request: InferenceRequest) -> CollectedAnswer:
        return CollectedAnswer(choices=request.prompts * request.choices)

    async def prompt_tokens(self, model_id: str, request: InferenceRequest) -> int:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._prompt, model_id, request)

    async def count(self, model_id: str, request: InferenceRequest, text: AnswerText) -> Tokens:
        """Of the prompt and of what was collected; `text` is one of text_of()."""
        if not isinstance(text, CollectedAnswer):
            raise TypeError("only what text_of() made can be counted")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._both, model_id, request, text)

    def _both(self, model_id: str, request: InferenceRequest, text: CollectedAnswer) -> Tokens:
        return Tokens(self._prompt(model_id, request), self._completion(model_id, request, text))

    def _prompt(self, model_id: str, request: InferenceRequest) -> int:
        try:
            return self._counter(model_id).prompt_tokens(request.body)
        except Uncountable as error:
            _warn(model_id, "prompt", error)
            return request.prompt_tokens_bound

    def _completion(self, model_id: str, request: InferenceRequest, text: CollectedAnswer) -> int:
        choices = text.choices()
        try:
            return self._counter(model_id).completion_tokens(choices, request.body)
        except (Uncountable, *RENDERING_FAILED) as error:
            _warn(model_id, "answer", error)
            return sum(choice.bytes_bound() for choice in choices)

    def _counter(self, model_id: str) -> Counter:
        counter = self._tokenizers.get(model_id)
        if counter is None:
            raise Uncountable(f"there is no tokenizer of {model_id}")
        return counter


def _warn(model_id: str, part: str, error: Exception) -> None:
    # Not with the error's words: a template's may repeat the client's.
    cause = type(error.__cause__ or error).__name__
    logger.warning("a call's %s could not be counted for %s (%s): its bound is used", part, model_id, cause)
