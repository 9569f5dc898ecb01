"""The gateway's own count of a call's tokens, with the model's own tokenizer.

What a client sent and what it was shown is all that goes in, so that the count owes nothing to the engine's
word. The prompt's count is the engine's exactly. An answer's is that of the text which the model must have
written, encoded anew, with the marks that the client does not see put back. That is nearly an engine's
count: a sampled answer may be split otherwise than the tokenizer would, and one that is cut off may hold back
a character that is not whole. With a real vLLM and SmolLM2 the counts of single answers were 2.5 % below to
5.6 % above the engine's, and exact for most.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from tokenizers import Tokenizer

from control_plane.catalogue.chat_template import RENDERING_FAILED, ChatTemplate
from control_plane.catalogue.conversation import (
    TEXT_PARTS,
    template_messages,
    template_tools,
    template_variables,
)
from control_plane.catalogue.entry import InvalidEntry

# Of one prompt, or of all texts of an answer: some 1.2 million tokens of English; 1 to 6 s of one core.
MOST_CHARACTERS = 4 * 1024 * 1024
# Added for each tool call, which under a grammar a model may write in small pieces: SmolLM2, made to call,
# took 45 tokens for what its tokenizer writes in 28.
TOOL_CALL_ALLOWANCE = 16
# With one of these a prompt is not what its text and the template make.
_OTHER_PROMPT = (
    "chat_template",
    "continue_final_message",
    "prompt_embeds",
    "suffix",
    "truncate_prompt_tokens",
)
# With one of these an answer has text that was not generated, or tokens that show nowhere.
_OTHER_ANSWER = ("echo", "ignore_eos")
_NO_CHARACTER = "\ufffd"
_ENDED = frozenset({"stop", "tool_calls", "function_call"})


class Uncountable(ValueError):
    """A prompt's or an answer's tokens cannot be counted here. The message says why, for an operator."""


@dataclass(frozen=True, slots=True)
class ToolCallText:
    name: str
    # JSON, as the client got it.
    arguments: str


@dataclass(frozen=True, slots=True)
class ChoiceText:
    """One choice of an answer: all of its text that the client was given."""

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallText, ...] = ()
    # None: it did not end, as where the client went away.
    finish_reason: str | None = None
    # The stop string that ended it, by the engine's word.
    stopped_by: str | None = None

    def bytes_bound(self) -> int:
        """The most tokens that it can have: no tokenizer makes more of a text than it has bytes."""
        calls = (text for call in self.tool_calls for text in (call.name, call.arguments))
        texts = (self.content, self.reasoning, *calls)
        return sum(len(text.encode()) for text in texts) + 1 + TOOL_CALL_ALLOWANCE * len(self.tool_calls)


def why_uncountable(body: Mapping[str, Any]) -> str | None:
    """Why the tokens of a request with this body could not be counted; None: nothing is in the way. Cheap:
    asked before a third-party card is considered."""
    for name in _OTHER_ANSWER:
        if body.get(name):
            return f"{name} is set"
    return _why_prompt_uncountable(body)


class Counter:
    """Counts for one model. Thread-safe, and slow for long text: call it in a thread."""

    def __init__(
        self, tokenizer: Callable[[], Tokenizer], template: ChatTemplate | None, tool_call_parser: str = ""
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._tool_call_parser = tool_call_parser

    def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        """Of a chat's, completion's or embedding's request body; several prompts are summed, each once.

        Raises Uncountable: also for a prompt of more than MOST_CHARACTERS, and for a conversation that the
        template refuses, as the engine would.
        """
        try:
            return self._prompt_tokens(body)
        except Uncountable:
            raise
        except RENDERING_FAILED as error:
            raise Uncountable(f"the prompt cannot be read: {error}") from error

    def completion_tokens(self, choices: Sequence[ChoiceText], body: Mapping[str, Any]) -> int:
        """Of an answer to `body`, with the end token of each choice that ended by itself.

        Of more than MOST_CHARACTERS only so many are counted, so that the count is then a least one. Raises
        Uncountable where the tokenizer's file was changed or taken away since the start.
        """
        stops = body.get("stop") or ()
        known = frozenset([stops] if isinstance(stops, str) else stops)
        shown = bool(body.get("include_stop_str_in_output"))
        texts: list[str] = []
        beside = 0
        room = MOST_CHARACTERS
        for choice in choices:
            # Calls where there was nothing to call are no work of the model's.
            calls = choice.tool_calls if body.get("tools") else ()
            text = _written(choice, calls, self._tool_call_parser)
            if choice.finish_reason in _ENDED:
                # By a stop string of the client's, which the engine wrote and took off; else by an end token.
                if choice.stopped_by in known:
                    text += "" if shown else str(choice.stopped_by)
                else:
                    beside += 1
            beside += TOOL_CALL_ALLOWANCE * len(calls)
            text = text[:room]
            room -= len(text)
            # Bytes that are no character came one token each.
            texts += text.split(_NO_CHARACTER)
            beside += text.count(_NO_CHARACTER)
        return beside + self._encoded(texts, special=False)

    def _prompt_tokens(self, body: Mapping[str, Any]) -> int:
        if reason := _why_prompt_uncountable(body):
            raise Uncountable(reason)
        if "messages" in body:
            return self._encoded([self._rendered(body)], special=bool(body.get("add_special_tokens")))
        texts, ids = _prompts(body.get("prompt", body.get("input")))
        special = body.get("add_special_tokens")
        return ids + self._encoded(texts, special=special is None or bool(special))

    def _rendered(self, body: Mapping[str, Any]) -> str:
        if self._template is None:
            raise Uncountable("the model has no chat template")
        tools = body.get("tools")
        return self._template.render(
            template_messages(body["messages"], self._template),
            template_tools(tools) if tools is not None else None,
            template_variables(body),
        )

    def _encoded(self, texts: Sequence[str], *, special: bool) -> int:
        if sum(map(len, texts)) > MOST_CHARACTERS:
            raise Uncountable(f"the prompt has more than {MOST_CHARACTERS} characters")
        try:
            tokenizer = self._tokenizer()
        except InvalidEntry as error:
            raise Uncountable(str(error)) from error
        # Without offsets it takes half the time; the interpreter is free meanwhile.
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
        return sum(map(len, encodings))


def _why_prompt_uncountable(body: Mapping[str, Any]) -> str | None:
    for name in _OTHER_PROMPT:
        if body.get(name):
            return f"{name} is set"
    variables = body.get("chat_template_kwargs") or {}
    if not isinstance(variables, dict) or {"chat_template", "tokenize"} & variables.keys():
        return "chat_template_kwargs names the template itself"
    messages = body.get("messages")
    for position, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else "text"
            if kind not in TEXT_PARTS:
                return f"messages[{position}] has a part that is not text"
    return None


def _prompts(prompt: Any) -> tuple[list[str], int]:
    """The texts among the prompts, and the number of tokens that came as ids."""
    if prompt is None:
        raise Uncountable("there is no prompt")
    if isinstance(prompt, str):
        return [prompt], 0
    if all(isinstance(each, int) for each in prompt):
        return [], len(prompt)
    texts = [each for each in prompt if isinstance(each, str)]
    return texts, sum(len(each) for each in prompt if not isinstance(each, str))


def _written(choice: ChoiceText, tool_calls: Sequence[ToolCallText], parser: str) -> str:
    """What the model wrote, as far as what the client was shown tells: the marks around reasoning and tool
    calls are the usual ones, where a model has others their number is much the same."""
    reasoning = f"<think>{choice.reasoning}</think>" if choice.reasoning else ""
    calls = [_tool_call(call, parser) for call in tool_calls]
    return "\n".join([reasoning + choice.content, *calls]) if calls else reasoning + choice.content


def _tool_call(call: ToolCallText, parser: str) -> str:
    if parser.startswith("qwen3_"):
        return f"<tool_call>\n<function={call.name}>\n{_parameters(call.arguments)}</function>\n</tool_call>"
    return f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>'


def _parameters(arguments: str) -> str:
    """Each argument in its own mark; what is no object, or is nested beyond reason, as it came."""
    try:
        values = orjson.loads(arguments)
        if not isinstance(values, dict):
            return arguments
        return "".join(
            f"<parameter={name}>\n{value if isinstance(value, str) else json.dumps(value)}\n</parameter>\n"
            for name, value in values.items()
        )
    except (orjson.JSONDecodeError, RecursionError):
        return arguments
