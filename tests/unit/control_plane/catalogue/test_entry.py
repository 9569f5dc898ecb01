"""An entry is checked field by field, and its digest depends on its JSON value alone."""

import hashlib
import json
from typing import Any

import pytest

from control_plane.catalogue import InvalidEntry, digest_of
from control_plane.catalogue.entry import parse_entry

GOOD: dict[str, Any] = {
    "modelId": "tiny",
    "servedName": "tiny",
    "kind": "MODEL_KIND_GENERAL",
    "licence": "Apache-2.0",
    "source": {"directory": "tiny"},
    "parametersCount": "200000",
    "contextTokens": 2048,
    "architecture": {"layersCount": 2, "kvHeadsCount": 2, "headSize": 16},
    "dtype": "bfloat16",
    "maxRunningCalls": 4,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _parse(value: object) -> str:
    return parse_entry(json.dumps(value), file="tiny.json", expected_id="tiny").digest


def test_white_space_and_the_order_of_keys_do_not_change_the_digest() -> None:
    spread = json.dumps(dict(reversed(GOOD.items())), indent=4)
    assert parse_entry(spread, file="tiny.json", expected_id="tiny").digest == _parse(GOOD)


def test_the_digest_is_the_sha256_of_the_canonical_text() -> None:
    assert digest_of({"b": [1, "é"], "a": {}}) == hashlib.sha256('{"a":{},"b":[1,"é"]}'.encode()).hexdigest()


def test_any_change_of_a_value_changes_the_digest() -> None:
    assert _parse(GOOD | {"contextTokens": 2049}) != _parse(GOOD)


def test_a_model_at_a_fixed_commit_of_hugging_face_is_accepted() -> None:
    _parse(GOOD | {"source": {"huggingFace": {"repository": "owner/name", "revision": COMMIT}}})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"servedName": ""}, "servedName"),
        ({"servedName": "--trust-remote-code"}, "servedName"),
        ({"servedName": "a b"}, "servedName"),
        ({"kind": "MODEL_KIND_UNSPECIFIED"}, "kind"),
        ({"licence": " "}, "licence"),
        ({"parametersCount": 0}, "parametersCount"),
        ({"contextTokens": 0}, "contextTokens"),
        ({"architecture": {}}, "architecture.layersCount"),
        ({"dtype": "float13"}, "dtype"),
        ({"quantization": "x --y"}, "quantization"),
        ({"toolCallParser": "../x"}, "toolCallParser"),
        ({"maxRunningCalls": 0}, "maxRunningCalls"),
        ({"source": {}}, "source"),
        ({"source": {"directory": "../etc"}}, "source.directory"),
        ({"source": {"directory": "/etc"}}, "source.directory"),
        ({"source": {"directory": ".."}}, "source.directory"),
        (
            {"source": {"huggingFace": {"repository": "name", "revision": COMMIT}}},
            "source.huggingFace.repository",
        ),
        (
            {"source": {"huggingFace": {"repository": "o/n", "revision": "main"}}},
            "source.huggingFace.revision",
        ),
        ({"modelId": "other"}, "modelId"),
    ],
)
def test_a_bad_field_is_named_with_its_file(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidEntry, match=r"^tiny\.json: ") as caught:
        _parse(GOOD | changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"modelId": "a", "modelId": "b"}', "'modelId' appears twice"),
        ('{"contextTokens": NaN}', "NaN is not a JSON number"),
        ('{"engineArguments": "--x"}', "engineArguments"),
        ('{"contextTokens": "many"}', "contextTokens"),
        ("[" * 100_000, "file:"),
    ],
)
def test_text_that_is_no_entry_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidEntry, match=r"^tiny\.json: ") as caught:
        parse_entry(text, file="tiny.json", expected_id="tiny")
    assert reason in str(caught.value)
