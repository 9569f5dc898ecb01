"""The text of docs/api.md, from the gateway's tables and a running control plane's description of itself;
scripts/gen_api_docs writes it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from control_plane.gateway.errors import Condition
from control_plane.gateway.gateway import MODELS_PATH
from control_plane.gateway.request import INFERENCE_PATHS
from control_plane.gateway.surfaces import SURFACES
from tests.support.control_plane import initialised, serving

HEAD = """\
# The HTTP interfaces

`scripts/gen_api_docs` makes this page from the code, and a test fails where it is stale. Both interfaces
are at the deployment's address, by HTTPS.

## Inference

For programs with an API key: `Authorization: Bearer <key>`, or `x-api-key: <key>`. The bodies are those of
OpenAI's API, and of Anthropic's for messages: [surfaces.md](surfaces.md) says what is different.

"""
HEADERS = """
| header | of | |
|---|---|---|
| `x-daalu-purpose` | requests | `coding` or `general`: [security.md](security.md) has what it means |
| `x-daalu-call-id` | answers | the call's id, for `daalu calls explain` |
| `x-daalu-tier` | answers | where it was served: `own`, `pool` or `external` |
| `x-daalu-pool` | answers | the pool, where one served it |
| `x-daalu-model` | answers | the served name of the model that answered, also where `auto` was asked for |
| `x-ratelimit-*` | answers | what the limits of the pool that served leave |
| `x-daalu-fall-through` | refusals | what the refusal meant for other tiers ([routing.md](routing.md)) |
| `retry-after` | refusals | seconds after which asking again makes sense |

A stream's headers go out with its first content, or after 15 s without; then tier, pool and model come as a
comment ahead of the content. A refusal's body is `{"error": {"message", "type", "param", "code"}}`, and of
messages as Anthropic's clients know it. What to do about each code:
[troubleshooting.md](troubleshooting.md#a-call-is-refused).

"""
OPERATORS = """
## Operators

`Authorization: Bearer <token>`, with the content of `operator-token` in the data directory; everything
under `/api/` wants it. The same as OpenAPI, for tools: `/api/v1/openapi.json`.

%s

    curl --cacert $DAALU_DATA/tls/server.pem -H "Authorization: Bearer $(cat $DAALU_DATA/operator-token)" \\
      https://control.example:8443/api/v1/agents

A tenant, an agent, a pool and a plan are named by id or by name. A path that shows a table gives CSV with
`form=csv` ([usage.md](usage.md)). Whatever is not done is answered with an [Error](#error):

| status | code | |
|---|---|---|
| 401 | `unauthorized` | no token, or another one |
| 404 | `not_found` | nothing has this id or name |
| 405 | `method_not_allowed` | |
| 408 | `timeout` | the body came too slowly |
| 409 | `duplicate`, `not_connected` | the name is taken; the agent is not connected now |
| 413 | `too_large` | a body of more than 65,536 bytes |
| 422 | `invalid` | the message names the field, and what it must be |
| 500 | `internal` | a fault of the control plane; its log has the trace |
| 503 | `database`, `overloaded`, `stopping` | try again; the control plane's log says more |
"""
_VERBS = ("get", "post", "put", "patch", "delete")


def description() -> dict[str, Any]:
    """What a control plane that runs answers with."""
    with TemporaryDirectory() as directory:
        plane = initialised(Path(directory) / "data")
        with serving(plane):
            answer = httpx2.get(
                f"{plane.plain_url}/api/v1/openapi.json", headers={"authorization": f"Bearer {plane.token}"}
            )
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def page(found: dict[str, Any]) -> str:
    introduction = " ".join(found["info"]["description"].split())
    return "".join(
        [
            HEAD,
            _table(("", ""), _inference()),
            HEADERS,
            _table(("status", "code", "other tiers"), _refusals()),
            OPERATORS % introduction,
            *_operations(found),
            "\n## Shapes\n",
            *(_shape(name, shape) for name, shape in sorted(found["components"]["schemas"].items())),
        ]
    )


def _inference() -> Iterator[tuple[str, ...]]:
    for path in [*sorted(INFERENCE_PATHS), *SURFACES]:
        yield f"`POST {path}`", "a call"
    yield f"`GET {MODELS_PATH}`", "the models that the key can reach now"
    yield f"`GET {MODELS_PATH}/{{model}}`", "one of them"


def _refusals() -> Iterator[tuple[str, ...]]:
    for each in sorted(Condition, key=lambda each: (each.value.status, each.value.code)):
        yield str(each.value.status), _code(each.value.code), _code(each.value.fall_through)


def _operations(found: dict[str, Any]) -> Iterator[str]:
    by_group: dict[str, list[str]] = {}
    for path, operations in found["paths"].items():
        for verb in _VERBS:
            if verb in operations:
                (group,) = operations[verb]["tags"]
                by_group.setdefault(group, []).append(_operation(verb, path, operations[verb]))
    for group, texts in sorted(by_group.items()):
        yield f"\n### /api/v1/{group}\n"
        yield from texts


def _operation(verb: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"\n#### {verb.upper()} {path}\n", f"\n{operation['summary']}.\n"]
    if more := operation.get("description"):
        lines.append(f"\n{more}\n")
    queries = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    if queries:
        rows = (
            (_code(each["name"]), _type(each["schema"]), _default(each["schema"], each["required"]))
            for each in queries
        )
        lines += ["\n", _table(("query", "", ""), rows)]
    if "requestBody" in operation:
        (body,) = operation["requestBody"]["content"].values()
        lines.append(f"\nBody: {_type(body['schema'])}.\n")
    lines.append(f"\n{_answer(operation['responses'])}\n")
    return "".join(lines)


def _answer(responses: dict[str, Any]) -> str:
    """The only one that is no refusal."""
    ((status, answer),) = ((status, each) for status, each in responses.items() if status != "default")
    kinds = [
        _type(each["schema"]) if kind == "application/json" else f"`{kind}`"
        for kind, each in answer["content"].items()
    ]
    return f"Answer: {status}, {' or '.join(kinds)}."


def _shape(name: str, shape: dict[str, Any]) -> str:
    text = f"\n### {name}\n"
    if about := " ".join(shape.get("description", "").split()):
        text += f"\n{about}\n"
    if "enum" in shape:
        return text + f"\n{_values(shape)}\n"
    needed = shape.get("required", ())
    rows = (
        (_code(field), _type(each), _default(each, field in needed))
        for field, each in shape.get("properties", {}).items()
    )
    return text + "\n" + _table(("field", "", ""), rows)


def _type(schema: dict[str, Any]) -> str:
    """In words, with a link to a shape."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {_type(schema['additionalProperties'])}"
        case None:
            return "anything"
        case kind:
            return _values(schema) if "enum" in schema or "const" in schema else str(kind)


def _values(schema: dict[str, Any]) -> str:
    return ", ".join(_code(str(value)) for value in schema.get("enum", [schema.get("const")]))


def _default(schema: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    default = schema.get("default")
    return "" if default is None else f"default {_code(str(default).lower())}"


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    print(page(description()), end="")
