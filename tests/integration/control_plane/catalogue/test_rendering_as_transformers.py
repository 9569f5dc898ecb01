"""Templates with the idioms of real models come out of our renderer as out of transformers itself."""

import json
import os
import subprocess
from typing import Any

import pytest

from control_plane.catalogue.chat_template import ChatTemplate
from tests.support.machine import engine_python

pytestmark = pytest.mark.engine

# Reads {"cases": [{"template", "messages", "tools", "variables"}]}, prints the rendered texts as a list.
_THEIRS = """
import json, sys
from transformers.utils.chat_template_utils import render_jinja_template
rendered = []
for case in json.load(sys.stdin)["cases"]:
    texts, _ = render_jinja_template(
        conversations=[case["messages"]], tools=case["tools"], chat_template=case["template"],
        **case["variables"],
    )
    rendered.append(texts[0])
print(json.dumps(rendered))
"""

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "  Be <brief> & kind.\n"},
    {"role": "user", "content": "Grüße, 東京 🙂"},
    {
        "role": "assistant",
        "content": "<think>\nhm\n</think>\n\nso",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": "ü<"}}}],
    },
    {"role": "tool", "content": "1"},
    {"role": "user", "content": "and?"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": None, "parameters": {"b": 1, "a": 2}}}]
TEMPLATES = {
    "counting back to the last question": """
{%- set ns = namespace(last=messages|length - 1, found=false) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if not ns.found and message.role == "user" and not (message.content.startswith('<tool')) %}
        {%- set ns.found = true %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if loop.index0 > ns.last - 3 and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content }}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
""",
    "tools as JSON, with a macro": """
{% macro shown(tool) -%}
    {{ tool | tojson(indent=4) }}
{%- endmacro %}
{% if tools is not none %}
Tools:
    {% for tool in tools %}
{{ shown(tool) }}
    {% endfor %}
{% endif %}
{{ bos_token }}{% for message in messages if message.role != 'tool' %}
[{{ message['role'] | upper }}] {{ message['content'] | trim }}{{ eos_token if loop.last }}
{% endfor %}
""",
    "loops that are left, marks for training": """
{% for message in messages %}
{% if loop.index0 == 1 %}{% continue %}{% endif %}
{% generation %}
{{ message.content }}
{% endgeneration %}
{% if loop.index0 == 2 %}{% break %}{% endif %}
{% endfor %}
{{ documents is none }} {{ enable_thinking is defined and not enable_thinking }} {{ x | default('y') }}
""",
    "arguments one by one": """
{%- for message in messages if message.tool_calls is defined and message.tool_calls is iterable %}
{%- for name, value in message.tool_calls[0].function.arguments | items %}
<parameter={{ name }}>
{{ value if value is string else value | tojson | safe }}
</parameter>
{%- endfor %}
{%- endfor %}
{%- for part in 'a,b'.split(',') %}{{ part ~ loop.last }}{% endfor %}
""",
}


def test_every_template_renders_alike() -> None:
    variables = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_generation_prompt": True,
        "enable_thinking": False,
    }
    cases = [
        {"template": template, "messages": MESSAGES, "tools": tools, "variables": variables}
        for template in TEMPLATES.values()
        for tools in (None, TOOLS)
    ]
    theirs = subprocess.run(
        [engine_python(), "-c", _THEIRS],
        input=json.dumps({"cases": cases}),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert theirs.returncode == 0, theirs.stderr[-2000:]
    ours = [
        ChatTemplate(str(case["template"]), {}).render(MESSAGES, case["tools"], variables)  # type: ignore[arg-type]
        for case in cases
    ]
    assert ours == json.loads(theirs.stdout.splitlines()[-1])
    assert all(text.strip() for text in ours)
