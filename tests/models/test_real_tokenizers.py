"""Tokenizers that real models have: what is learned is what a constraint allows, and reads as it was given.

Mistral's tokenizers come in a wheel of the package registry: SentencePiece, which puts a space in front of texts.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer, LlamaTokenizer

from burnish.errors import ModelError
from burnish.models.chat import Chat
from burnish.models.constrain import Constrainer, bits_to_bool
from burnish.models.load import load_tokenizer
from burnish.models.wheels import Wheel, fetch_member
from burnish.records import JsonSchema, Labels, Message
from notes import Notes

MISTRAL = Wheel(
    "mistral-common",
    "1.13.1",
    "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
    "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3",
)
# How Llama 2 and Mistral v0.1 write a turn, with spaces around an answer; how later ones do; and what many put on any
# base model, whether its tokenizer has these markers or not.
SPACES = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}"
    "{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)
TIGHT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}{{ '[INST]' + m.content + '[/INST]' }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["name", "count"],
    "additionalProperties": False,
}
LABELS = ("billing", "lost card", "lost card abroad", "3 days late", "Überweisung", "{other}")
ANSWERS = (*LABELS, '{"name":"Zoë 🙂","count":12}', "two\nlines, don't  stop.", "", "日本語")


@cache
def tokenizer_of(name: str) -> Any:
    if name == "smollm2":
        return load_tokenizer("smollm2-135m-instruct")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(fetch_member(MISTRAL), Path(folder) / "tokenizer.model")
        tokenizer = LlamaTokenizer.from_pretrained(folder)
    if name == "every part":  # as Llama 2's and Phi-3's tokenizer.json have it
        space = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(space)
        tokenizer.backend_tokenizer.pre_tokenizer = None
    return tokenizer


def chat_of(tokenizer: str, template: str | None) -> Chat:
    copy = tokenizer_of(tokenizer)
    copy.chat_template = template
    return Chat(copy)


CASES = [
    pytest.param(tokenizer, template, id=f"{tokenizer}, {name}")
    for tokenizer in ("first part", "every part", "smollm2")
    for name, template in (("spaces", SPACES), ("tight", TIGHT), ("chatml", CHATML), ("none", None))
]


@pytest.mark.model
@pytest.mark.parametrize(("tokenizer", "template"), CASES)
def test_what_is_learned_is_what_a_constraint_allows(tokenizer: str, template: str | None) -> None:
    """To the token: else a tuned model is asked to write what it has not learned."""
    chat = chat_of(tokenizer, template)
    vocabulary = len(chat.tokenizer)
    constrainer = Constrainer(chat, vocabulary)
    question = [Message("user", "Which team?")]
    for answer in ANSWERS:
        rendered = chat.render(question, Message("assistant", answer))
        learned = rendered.tokens[rendered.prompt_length :]
        assert learned == [*chat.answer(answer), chat.end_of_turn]
        assert chat.decode(learned) == answer
        if answer in LABELS:
            matcher = constrainer.matcher(Labels(LABELS))
        elif answer.startswith("{"):
            matcher = constrainer.matcher(JsonSchema(SCHEMA))
            forced = matcher.forced()
            assert forced
            assert learned[: len(forced)] == forced
        else:
            continue
        for token in learned[:-1]:
            allowed = matcher.allowed()
            options = (
                np.flatnonzero(bits_to_bool(allowed, vocabulary)) if isinstance(allowed, np.ndarray) else allowed
            )
            assert token in options, (answer, chat.tokenizer.convert_ids_to_tokens(learned))
            matcher.accept(token)
        assert matcher.finished() or chat.end_of_turn in matcher.allowed()


@pytest.mark.model
@pytest.mark.parametrize(("tokenizer", "template"), [case for case in CASES if case.id != "smollm2, tight"])
def test_prompt_and_answer_are_the_conversation_as_the_tokenizer_cuts_it(
    tokenizer: str, template: str | None
) -> None:
    """Oracle: the whole text at once, as peers and servers tokenise it (but for a token that would reach across, as
    SmolLM2's "]{" would behind "[/INST]", which is none of its tokens)."""
    chat = chat_of(tokenizer, template)
    messages = [Message("user", "Which  team?"), Message("assistant", "sales"), Message("user", "And now?")]
    for answer in ("billing", '{"name":"Zoë"}', "3 days late"):
        rendered = chat.render(messages, Message("assistant", answer))
        text = chat.text([*messages, Message("assistant", answer)], generation_prompt=False)
        whole = chat.tokenizer.encode(text, add_special_tokens=False)
        assert rendered.tokens[: rendered.prompt_length] == chat.prompt(messages)
        if template != CHATML or tokenizer == "smollm2":
            assert rendered.tokens == whole[: len(rendered.tokens)]
        else:
            assert rendered.tokens[:-1] == whole[: len(rendered.tokens) - 1]
            assert rendered.tokens[-1] == chat.tokenizer.eos_token_id


@pytest.mark.model
def test_an_end_of_turn_in_words_is_told_and_not_learned() -> None:
    chat = chat_of("first part", CHATML)
    assert "'<|im_end|>\\n', which is no token" in chat.notices[-1]
    turns = [Message("user", "x"), Message("assistant", "sales"), Message("user", "y")]
    learned = chat.render_turns(turns, Message("assistant", "billing"), all_turns=True)
    texts = [chat.tokenizer.decode(learned.tokens[span.first : span.last]) for span in learned.spans]
    assert texts == ["sales</s>", "billing</s>"]


@pytest.mark.model
def test_a_template_that_loses_the_system_turn_once_it_is_answered() -> None:
    """Mistral's v3 template: the system turn is written into the last turn, if that is the user's."""
    template = (
        "{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'assistant' %}"
        "{{ m.content + eos_token }}{% elif loop.last and messages[0].role == 'system' %}"
        "{{ '[INST]' + messages[0].content + '\n\n' + m.content + '[/INST]' }}{% else %}"
        "{{ '[INST]' + m.content + '[/INST]' }}{% endif %}{% endfor %}"
    )
    chat = chat_of("first part", template)
    rendered = chat.render([Message("system", "Say it."), Message("user", "x")], Message("assistant", "y"))
    assert chat.tokenizer.decode(rendered.tokens).replace(" ", "") == "<s>[INST]Sayit.\n\nx[/INST]y</s>"


def test_templates_with_names(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("smollm2")
    tokenizer.chat_template = {"tool_use": "{{ bos_token }}", "default": CHATML}
    assert Chat(tokenizer).template == CHATML
    tokenizer.chat_template = {"rag": CHATML}
    with pytest.raises(ModelError, match="none is called default") as error:
        Chat(tokenizer)
    assert error.value.got == "rag"


@pytest.mark.model
def test_texts_are_cut_as_tokenizer_json_says_whatever_class_a_folder_names(tmp_path: Path) -> None:
    """transformers' GPT2Tokenizer and LlamaTokenizer have cuts of their own (#45920): OLMo 2, Granite, Yi."""
    tokenizer = tokenizer_of("smollm2")
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    by_three = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [by_three, state["pre_tokenizer"]]}
    state["model"]["vocab"]["23"] = len(state["model"]["vocab"])
    state["model"]["merges"].append(["2", "3"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "GPT2Tokenizer"}))
    assert AutoTokenizer.from_pretrained(tmp_path).tokenize("2023") == ["2", "0", "23"]
    told = Notes()
    found = load_tokenizer(str(tmp_path), progress=told)
    assert found.tokenize("2023") == ["2", "0", "2", "3"]
    assert "transformers' GPT2Tokenizer would cut some otherwise" in told.lines[0]
    found.save_pretrained(tmp_path / "exported")  # what is exported is read alike by every other tool
    shutil.copy(tmp_path / "config.json", tmp_path / "exported")
    assert AutoTokenizer.from_pretrained(tmp_path / "exported").tokenize("2023") == ["2", "0", "2", "3"]
    assert load_tokenizer(str(tmp_path / "exported"), progress=told).tokenize("2023") == ["2", "0", "2", "3"]
    assert len(told.lines) == 1
