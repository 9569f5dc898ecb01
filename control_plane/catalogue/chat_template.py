"""A model's chat template: how a conversation becomes the text of a prompt, as transformers renders it."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# What a template's expressions raise over values that its author did not think of.
RENDERING_FAILED = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


class ChatTemplate:
    """Compiled once; rendering is thread-safe and sandboxed, for messages are strangers' text."""

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        """`variables`: bos_token, eos_token and the like. Raises jinja2.TemplateSyntaxError."""
        self._template = _environment().from_string(source)
        self._variables = dict(variables)
        # The engine gives such a template every content as a list of parts, and others joined text.
        self.takes_parts = _iterates_over_content(_environment().parse(source))
        # To a template that does not, the engine calls a developer "system".
        self.knows_developer = '"developer"' in source or "'developer'" in source

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> str:
        """Raises one of RENDERING_FAILED."""
        # transformers hands over exactly these, an absent one as None.
        given = {"documents": None, **self._variables, **variables, "messages": messages, "tools": tools}
        return self._template.render(given)


class _GenerationTag(Extension):
    """`{% generation %}` marks what the assistant said, for training; it changes no text."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike jinja2's own it escapes nothing for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    # The host's local date, as the engine has it: the count is the same for every date.
    return datetime.now().astimezone().strftime(form)


def _iterates_over_content(template: nodes.Template) -> bool:
    """Whether a loop of it runs over a message's content: the sign that vLLM goes by, too."""
    return any(_is_content(loop.iter) for loop in template.find_all(nodes.For))


def _is_content(node: nodes.Node) -> bool:
    match node:
        case nodes.Filter(node=nodes.Node() as filtered):
            return _is_content(filtered)
        case nodes.Getattr(attr=name) | nodes.Name(name=name):
            return bool(name == "content")
        case nodes.Getitem(arg=nodes.Const(value=name)):
            return bool(name == "content")
        case nodes.Getitem(node=sliced, arg=nodes.Slice()):
            return _is_content(sliced)
        case _:
            return False
