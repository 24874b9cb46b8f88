"""Chat templates of real models, as TRL brings them: what is asked, and what is learned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trl
from tokenizers import AddedToken

from burnish.errors import TrainingError
from burnish.models.chat import Chat
from burnish.records import Message, ToolCall
from tiny import tiny_tokenizer

FOLDER = Path(trl.__file__).parent / "chat_templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja") if not path.stem.endswith("_training"))
MARKERS = re.compile(
    r"<\|[^|<>\s]+\|>|</?\w*(?:think|tool_call|turn|utterance)\w*>|<｜[^｜]+｜>|<\|?turn\|?>|<channel\|>"
)
THINKING = (
    "deepseek_r1_distill", "deepseekv3", "glm4moe", "gptoss", "muse_glimmer", "nemotron_3_5_lightning",
    "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "qwen3", "qwen3_5_think", "qwen3_6", "qwen3_8",
)  # fmt: skip
REWRITING = ("gptoss", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6")
QUESTION, ANSWER = Message("user", "What is 2 + 2?"), Message("assistant", "It is four.")
THOUGHT = Message("assistant", "<think>\n2 and 2\n</think>\n\nIt is four.")


def tokenizer_of(name: str) -> Any:
    """A tokenizer with the template and the markers in it, thoughts and calls as text that is not special."""
    tokenizer = tiny_tokenizer()
    template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    plain = re.compile("think|tool_call")
    markers = sorted(set(MARKERS.findall(template)))
    tokenizer.add_tokens([AddedToken(one, special=not plain.search(one), normalized=False) for one in markers])
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_answer_is_learned_and_nothing_before_it(name: str) -> None:
    tokenizer = tokenizer_of(name)
    chat = Chat(tokenizer)
    rendered = chat.render_turns([QUESTION], ANSWER)
    [span] = rendered.spans
    assert list(rendered.tokens[: span.first]) == chat.prompt([QUESTION])
    learned = tokenizer.decode(rendered.tokens[span.first : span.last])
    assert re.fullmatch(r"\s*It is four\.\s*\S*\s*(</s>)?", learned), learned
    assert chat.decode(rendered.tokens[span.first : span.last]).strip() == "It is four."
    assert rendered.tokens[span.last - 1] in chat.stop_ids
    assert bool(chat.notices and "answers at once" in chat.notices[-1]) == (name in THINKING)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_that_travels_with_an_adapter_asks_alike(name: str) -> None:
    first = Chat(tokenizer_of(name))
    later = Chat(tokenizer_of(name), template=first.template)
    turns = [QUESTION, ANSWER, Message("user", "And 3 + 3?")]
    for messages in ([QUESTION], turns):
        assert later.text(messages, generation_prompt=True) == first.text(messages, generation_prompt=True)
        assert later.render(messages, ANSWER) == first.render(messages, ANSWER)
    assert later.end_of_turn == first.end_of_turn
    elsewhere = tokenizer_of(name)  # without Burnish: transformers, vLLM
    if not first._in_parts:
        given = [{"role": turn.role, "content": turn.content} for turn in turns]
        text = elsewhere.apply_chat_template(
            given, chat_template=first.template, tokenize=False, add_generation_prompt=True
        )
        assert text == first.text(turns, generation_prompt=True)


@pytest.mark.parametrize("name", [name for name in THINKING if name.startswith(("qwen3", "nemotron", "glm"))])
def test_oracle_prompts_are_those_without_thinking(name: str) -> None:
    turns = [{"role": "user", "content": QUESTION.content}]
    wanted = tokenizer_of(name).apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert Chat(tokenizer_of(name)).text([QUESTION], generation_prompt=True).rstrip() == wanted.rstrip()


TALK = [Message("system", "SYSMARK"), Message("user", "USERONE"), Message("assistant", "ANSONE")]
TOOLS = [
    Message("user", "USERTWO"),
    Message("assistant", "CALLTEXT", tool_calls=(ToolCall("CALLNAME", {"city": "ARGVALUE"}, "c1"),)),
    Message("tool", "RESULTONE", name="CALLNAME", tool_call_id="c1"),
    Message("tool", "RESULTTWO", name="CALLNAME", tool_call_id="c2"),
]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_conversation_is_left_out(name: str) -> None:
    """Nor with results of tools, for which some templates have no turn, and which others drop."""
    chat = Chat(tokenizer_of(name))
    for more in ([Message("user", "USERTWO")], TOOLS, [*TOOLS, Message("user", "USERTHREE")]):
        messages = [*TALK, *more]
        written = chat.text(messages, generation_prompt=True)
        said = [message.content for message in messages]
        assert [mark for mark in said if mark not in written] == []
        assert sorted(said, key=written.index) == said
        assert ("ARGVALUE" in written) == (len(more) > 1)
        rendered = chat.render(messages, ANSWER)
        assert rendered.tokens[: rendered.prompt_length] == chat.prompt(messages)
        assert chat.decode(rendered.tokens[rendered.prompt_length :]).strip() == "It is four."


@pytest.mark.parametrize("name", NAMES)
def test_earlier_turns_are_learned_as_the_model_gave_them(name: str) -> None:
    """In one sequence, or where a template rewrites them, such as to drop a thought, each in its own."""
    chat = Chat(tokenizer_of(name))
    messages = [*TALK, Message("user", "USERTWO")]
    found = chat.render_apart(messages, ANSWER, all_turns=True)
    assert len(found) == (2 if name in REWRITING else 1)
    learned = [chat.decode(one.tokens[span.first : span.last]).strip() for one in found for span in one.spans]
    assert learned == ["ANSONE", "It is four."]
    first = found[0]
    assert list(first.tokens[: first.spans[0].first]) == chat.prompt(messages[:2])
    assert all(one.tokens[span.last - 1] in chat.stop_ids for one in found for span in one.spans)
    assert chat.render_apart(messages, ANSWER) == (chat.render_turns(messages, ANSWER),)


@pytest.mark.parametrize("name", ["llama3_2", "gptoss"])
def test_the_date_stands_still(name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert "strftime_now" in tokenizer.chat_template
    chat = Chat(tokenizer)
    written = chat.text([Message("system", "Be brief."), QUESTION], generation_prompt=True)
    assert "01 Jan 2025" in written or "2025-01-01" in written
    assert any("today's date" in notice for notice in chat.notices)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*THINKING, "llama3_2")])
def test_templates_of_models_that_answer_at_once_stay_as_they_are(name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert Chat(tokenizer).template == tokenizer.chat_template


@pytest.mark.parametrize(
    "name", [name for name in THINKING if name.startswith(("qwen3", "glm", "nemotron_3_nano", "nemotron_3_super"))]
)
def test_where_answers_think_the_model_is_asked_as_it_comes_and_learns_the_thought(name: str) -> None:
    tokenizer = tokenizer_of(name)
    chat = Chat(tokenizer, thinks=True)
    assert chat.template == tokenizer.chat_template
    for answer in (THOUGHT,) if name.startswith("nemotron") else (THOUGHT, ANSWER):
        rendered = chat.render_turns([QUESTION], answer)
        [span] = rendered.spans
        assert list(rendered.tokens[: span.first]) == chat.prompt([QUESTION])
        learned = chat.decode(rendered.tokens[span.first : span.last])
        assert learned.endswith("It is four.")
        assert ("2 and 2" in learned) == (answer is THOUGHT)
    assert Chat(tokenizer, template=chat.template).render([QUESTION], THOUGHT) == chat.render([QUESTION], THOUGHT)


def test_a_thought_is_refused_where_the_template_leaves_it_out() -> None:
    for name, thinks in (("qwen3", False), ("deepseek_r1_distill", True)):
        with pytest.raises(TrainingError, match="give every answer a thought"):
            Chat(tokenizer_of(name), thinks=thinks).render([QUESTION], THOUGHT)
    kept = Chat(tokenizer_of("qwen2_5")).render([QUESTION], THOUGHT)
    assert sum(kept.labelled) > 20
