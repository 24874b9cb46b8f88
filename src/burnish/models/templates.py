"""Chat templates: one for models without any, and one that opens a turn as it writes answers.

A model is asked with what its template writes before an answer, the generation prompt, and trained on what the
template makes of the answered conversation. For models that think first these differ: the prompt leaves room for a
thought or begins one, and an answer without a thought has an empty thought in front of it (Qwen3, GLM-4.5), another
channel (gpt-oss), or nothing (DeepSeek-R1). Trained as it stands, the model would have to write that first, or would
be asked with what it never saw.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

from burnish.errors import ModelError

# For base models that come without a template: roles as headings; the end of a turn is the model's end of text.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Answer: ' + message['content'] + eos_token + '\n\n' }}"
    "{% else %}{{ 'Input: ' + message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"  # no space: it belongs to the answer's first token
)
PROBE = "burnish-probe"  # a content that no template changes
DATE = datetime.date(2025, 1, 1)  # that templates write in place of today's
_TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")


def own_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, "" for none; of several with names (Command R+) the one called default."""
    template = tokenizer.chat_template or ""
    if not isinstance(template, dict):
        return str(template)
    if "default" not in template:
        raise ModelError(
            "the tokenizer has several chat templates and none is called default",
            got=", ".join(template),
            fix="name one of them default in tokenizer_config.json",
        )
    return str(template["default"])


def with_fixed_date(template: str) -> str:
    """The template with DATE in place of today's: else a model would be asked with another date than it was trained
    with, and a run that is resumed the next day with two."""
    return _TODAY.sub(lambda call: repr(DATE.strftime(call[2])), template)


def without_thinking(template: str) -> str:
    """The template with the switches off by which models that can do both are told to think."""
    return "{% set enable_thinking = false %}{% set thinking = false %}" + template


def opens_as_it_answers(opened: str, before: str) -> bool:
    """Whether a generation prompt is what stands before an answer, but for white space, which the answer begins with:
    a prompt that ends in a space would be cut into other tokens."""
    return before.startswith(opened) and not before[len(opened) :].strip()


def opening_as_answered(template: str, *, in_parts: bool) -> str:
    """The template with another generation prompt: what it writes before the answer once that is there.

    It renders the conversation with an answer and cuts that off again, so it is right after tool calls and in later
    turns, too, and wherever the template travels with an adapter. in_parts: contents are lists of parts.
    """
    content = f"[{{'type': 'text', 'text': '{PROBE}'}}]" if in_parts else f"'{PROBE}'"
    answer = f"{{'role': 'assistant', 'content': {content}}}"
    return (
        "{% set opens = add_generation_prompt | default(false) %}"
        "{% set add_generation_prompt = false %}"
        f"{{% if opens %}}{{% set messages = messages + [{answer}] %}}{{% endif %}}"
        f"{{% set written %}}{template}{{% endset %}}"
        f"{{{{ written.rsplit('{PROBE}', 1)[0] if opens else written }}}}"
    )
