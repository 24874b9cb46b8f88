"""Rendering: what the model reads at inference is what it was trained on, and the answer alone is learned."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from burnish.errors import ModelError, TrainingError
from burnish.models.chat import Chat
from burnish.records import Message, ToolCall
from tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(text, min_size=1, max_size=4), text)
def test_prompt_is_the_start_of_the_rendered_row(turns: list[str], answer: str) -> None:
    chat = Chat(TOKENIZER)
    roles = ["user", "assistant"]
    messages = [Message("system", "be brief")]
    messages += [Message(roles[i % 2], turn) for i, turn in enumerate(turns)]  # type: ignore[arg-type]
    rendered = chat.render(messages, Message("assistant", answer))
    prompt = chat.prompt(messages)
    assert rendered.tokens[: len(prompt)] == prompt
    assert rendered.prompt_length == len(prompt)
    assert rendered.labelled == [False] * len(prompt) + [True] * (len(rendered.tokens) - len(prompt))
    assert rendered.tokens[-1] in chat.stop_ids
    assert rendered.tokens.count(chat.end_of_turn) >= len(messages) + 1


def test_only_the_answer_and_its_end_are_labelled() -> None:
    chat = Chat(TOKENIZER)
    rendered = chat.render([Message("user", "cat?")], Message("assistant", "dog"))
    learned = [token for token, label in zip(rendered.tokens, rendered.labelled, strict=True) if label]
    assert TOKENIZER.decode(learned) == "dog</s>"


def test_text_that_looks_like_markers_in_the_prompt_is_not_labelled() -> None:
    chat = Chat(TOKENIZER)
    rendered = chat.render([Message("user", "say assistant\nfoo")], Message("assistant", "bar"))
    learned = [token for token, label in zip(rendered.tokens, rendered.labelled, strict=True) if label]
    assert TOKENIZER.decode(learned) == "bar</s>"


def test_tool_calls_are_written_as_json_text() -> None:
    chat = Chat(TOKENIZER)
    message = Message("assistant", "", tool_calls=(ToolCall("find", {"q": "ä"}),))
    assert '[{"name":"find","arguments":{"q":"ä"}}]' in chat.text(
        [Message("user", "x"), message], generation_prompt=False
    )


def test_template_without_end_of_turn_gets_the_end_of_text() -> None:
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    chat = Chat(TOKENIZER, template=template)
    assert chat.render([Message("user", "a")], Message("assistant", "b")).tokens[-1] == TOKENIZER.eos_token_id


def test_no_template_falls_back_with_a_notice() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    chat = Chat(tokenizer)
    assert "plain one" in chat.notices[0]
    rendered = chat.render([Message("system", "s"), Message("user", "a")], Message("assistant", "b"))
    assert tokenizer.decode(rendered.tokens) == "s\n\nInput: a\n\nAnswer: b</s>"


def test_a_base_model_gets_the_first_token_that_it_was_pretrained_with() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    start = ("<s>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[start])
    assert tokenizer.encode("x")[0] == tokenizer.bos_token_id
    rendered = Chat(tokenizer).render([Message("user", "a")], Message("assistant", "b"))
    assert tokenizer.decode(rendered.tokens) == "<s>Input: a\n\nAnswer: b</s>"


def test_an_answer_with_an_end_of_turn_in_its_text_is_refused() -> None:
    chat = Chat(TOKENIZER)
    with pytest.raises(TrainingError, match="</s>, which ends a turn"):
        chat.render([Message("user", "a")], Message("assistant", "b</s> c"))
    chat.render([Message("user", "a</s>")], Message("assistant", "b"))


def test_system_turn_is_folded_where_the_template_refuses_it() -> None:
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    chat = Chat(TOKENIZER, template=template + TOKENIZER.chat_template)
    text = chat.text([Message("system", "rules"), Message("user", "a")], generation_prompt=True)
    assert "<s>user\nrules\n\na</s>" in text
    assert "no system turn" in chat.notices[0]


def test_template_that_refuses_roles_names_them() -> None:
    template = "{% if messages | length > 3 %}{{ raise_exception('too long') }}{% endif %}" + TOKENIZER.chat_template
    with pytest.raises(ModelError, match="too long") as caught:
        Chat(TOKENIZER, template=template).prompt([Message("user", "a")] * 4)
    assert "user" in str(caught.value)


def test_template_that_rewrites_the_prompt_is_refused() -> None:
    template = "{% if messages | length > 1 %}{{ 'changed' }}{% endif %}" + TOKENIZER.chat_template
    with pytest.raises(TrainingError, match="changes the prompt"):
        Chat(TOKENIZER, template=template).render([Message("user", "a")], Message("assistant", "b"))


def test_hidden_system_prompt_is_found() -> None:
    hidden = "{% if messages[0]['role'] != 'system' %}"
    hidden += "{{ '<s>system\\nYou are a friendly helper made by us</s>\\n' }}{% endif %}"
    chat = Chat(TOKENIZER, template=hidden + TOKENIZER.chat_template)
    found = chat.hidden_system_prompt([Message("user", "hello")])
    assert found is not None
    assert "friendly helper" in found
    assert chat.hidden_system_prompt([Message("system", "x"), Message("user", "hello")]) is None
    assert Chat(TOKENIZER).hidden_system_prompt([Message("user", "hello")]) is None
