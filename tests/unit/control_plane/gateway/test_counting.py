"""The gateway's counting: off the event loop, and with a bound where nothing can be counted."""

import json
import logging
from typing import Any

import pytest

from control_plane.catalogue import Counter, Tokenizers
from control_plane.catalogue.chat_template import ChatTemplate
from control_plane.gateway.counting import OwnCounting
from control_plane.gateway.request import InferenceRequest, read_request
from tests.support.tokenizer_files import TEMPLATE, trained

TOKENIZER = trained()
REFUSING = ChatTemplate("{{ raise_exception('said ' ~ messages[0].content) }}", {})
COUNTING = OwnCounting(
    Tokenizers(
        {
            "tiny": Counter(lambda: TOKENIZER, ChatTemplate(TEMPLATE, {})),
            "refusing": Counter(lambda: TOKENIZER, REFUSING),
        }
    )
)


def _request(**fields: Any) -> InferenceRequest:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "geheim"}], **fields}
    return read_request("/v1/chat/completions", json.dumps(body).encode())


def _answer(*texts: str) -> bytes:
    choices = [
        {"index": index, "message": {"content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return json.dumps({"choices": choices}).encode()


def test_it_can_count_what_it_has_tokenizers_of() -> None:
    assert "tiny" in COUNTING.models
    assert "absent" not in COUNTING.models


async def test_prompt_and_answer_are_counted() -> None:
    request = _request(n=2)
    text = COUNTING.text_of(request)
    text.whole(_answer("once upon", "a time", "nobody asked for this"))
    counted = await COUNTING.count("tiny", request, text)
    one, other = (len(TOKENIZER.encode(each).ids) for each in ("once upon", "a time"))
    assert counted.completion == one + other + 2
    assert counted.prompt == await COUNTING.prompt_tokens("tiny", request) < request.prompt_tokens_bound


@pytest.mark.parametrize("model_id", ["refusing", "absent"])
async def test_what_cannot_be_counted_has_its_bound_and_no_word_of_it_is_logged(
    model_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = _request()
    text = COUNTING.text_of(request)
    text.whole(_answer("héllo"))
    with caplog.at_level(logging.DEBUG):
        counted = await COUNTING.count(model_id, request, text)
    assert counted.prompt == request.prompt_tokens_bound
    assert counted.completion in (len("héllo".encode()) + 1, len(TOKENIZER.encode("héllo").ids) + 1)
    assert f"prompt could not be counted for {model_id}" in caplog.text
    assert "geheim" not in caplog.text


async def test_only_its_own_texts_are_counted() -> None:
    class Other:
        def events(self, data: bytes) -> None: ...
        def whole(self, body: bytes) -> None: ...

        def so_far(self) -> "Other":
            return self

    with pytest.raises(TypeError, match="only what text_of"):
        await COUNTING.count("tiny", _request(), Other())


async def test_an_embedding_has_a_prompt_and_no_answer() -> None:
    request = read_request(
        "/v1/embeddings", json.dumps({"model": "tiny", "input": ["once", "upon"]}).encode()
    )
    text = COUNTING.text_of(request)
    text.whole(json.dumps({"object": "list", "data": [{"index": 0, "embedding": [0.5]}]}).encode())
    counted = await COUNTING.count("tiny", request, text)
    assert (counted.prompt, counted.completion) == (
        sum(len(TOKENIZER.encode(each).ids) for each in ("once", "upon")),
        0,
    )
