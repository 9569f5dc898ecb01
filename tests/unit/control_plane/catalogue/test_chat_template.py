"""A chat template is rendered as transformers renders it, and can do no harm."""

from typing import Any

import jinja2
import pytest
from jinja2.exceptions import SecurityError

from control_plane.catalogue.chat_template import RENDERING_FAILED, ChatTemplate

MESSAGES = [{"role": "user", "content": "a <b> & c"}, {"role": "assistant", "content": "d"}]


def _rendered(source: str, *, tools: Any = None, **variables: Any) -> str:
    return ChatTemplate(source, {"eos_token": "</s>"}).render(MESSAGES, tools, variables)


def test_blocks_leave_no_white_space_of_their_own() -> None:
    source = "{% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\n"
    assert _rendered(source) == "a <b> & c\nd\n"


def test_nothing_is_escaped() -> None:
    assert _rendered("{{ messages[0].content }}{{ messages[0] | tojson }}") == (
        'a <b> & c{"role": "user", "content": "a <b> & c"}'
    )
    assert _rendered("{{ tools | tojson(indent=1) }}", tools=["ü"]) == '[\n "ü"\n]'


def test_special_tokens_and_what_the_request_sets_are_variables() -> None:
    assert _rendered(
        "{{ eos_token }}{{ enable_thinking }}{{ documents is none }}", enable_thinking=False
    ) == ("</s>FalseTrue")


def test_loops_can_be_left_and_the_assistants_part_can_be_marked() -> None:
    source = (
        "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}{% generation %}!{% endgeneration %}"
    )
    assert _rendered(source) == "a <b> & c!"


def test_the_date_can_be_asked_for() -> None:
    assert _rendered("{{ strftime_now('%Y') }}").isdecimal()


def test_a_template_refuses_a_conversation_with_its_own_words() -> None:
    with pytest.raises(jinja2.TemplateError, match="only users speak"):
        _rendered("{{ raise_exception('only users speak') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].absent.more }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 // 0 }}",
        "{{ messages | tojson(indent='x', sort_keys=true) + none }}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{{ range(1000000000) | list }}",
    ],
)
def test_what_goes_wrong_in_rendering_is_one_of_the_known_errors(source: str) -> None:
    with pytest.raises(RENDERING_FAILED):
        _rendered(source)


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ raise_exception.__globals__.json }}"],
)
def test_a_template_reaches_nothing_but_its_values(source: str) -> None:
    with pytest.raises(SecurityError):
        _rendered(source)


@pytest.mark.parametrize(
    ("source", "takes_parts"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{% for m in messages %}{% for p in m['content'] %}{{ p.text }}{% endfor %}{% endfor %}", True),
        ("{% for m in messages %}{% for p in m.content | list %}{{ p.text }}{% endfor %}{% endfor %}", True),
        ("{% macro r(content) %}{% for p in content %}{% endfor %}{% endmacro %}", True),
        ("{% for m in messages %}{% for p in m.content[1:] %}{% endfor %}{% endfor %}", True),
    ],
)
def test_a_template_that_loops_over_content_takes_parts(source: str, takes_parts: bool) -> None:
    assert ChatTemplate(source, {}).takes_parts is takes_parts


def test_a_broken_template_is_told_when_it_is_compiled() -> None:
    with pytest.raises(jinja2.TemplateSyntaxError):
        ChatTemplate("{% for %}", {})
