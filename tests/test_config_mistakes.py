"""Every mistake in a task file is named with its line, the value, and the fix; all of a file at once."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.config import load_task, task_from
from burnish.errors import BurnishError, ConfigError

GOOD = """\
name: mail
kind: classification
instruction: Say which team should answer.
data: rows.jsonl
"""
EXTRACTION = GOOD.replace("classification", "extraction")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n')
    return tmp_path


class Mistake(NamedTuple):
    """text is appended to GOOD (four lines); where and said must be in the message."""

    text: str
    line: int
    key: str
    said: str


MISTAKES = {
    "misspelt key": Mistake("lables: [a, b]\n", 5, "lables", "did you mean labels?"),
    "misspelt key in a section": Mistake("training:\n  learning_rte: 0.1\n", 6, "training.learning_rte", "ing_rate?"),
    "misspelt alias": Mistake("num_train_epoch: 2\n", 5, "num_train_epoch", "num_train_epochs (training.num_epochs)"),
    "hyphen for underscore": Mistake("few-shot: {k: 2}\n", 5, "few-shot", "did you mean few_shot?"),
    "capitals": Mistake("Labels: [a, b]\n", 5, "Labels", "did you mean labels?"),
    "unknown key": Mistake("zzz: 1\n", 5, "zzz", "known keys here: name, kind"),
    "key of a section at the top": Mistake("margin: 0.1\n", 5, "margin", "margin belongs under goal:"),
    "key of the top in a section": Mistake("goal:\n  seed: 3\n", 6, "goal.seed", "seed belongs at the top level"),
    "text for a number": Mistake("training: {lora_r: many}\n", 5, "training.lora_r", "a whole number from 1 to 1024"),
    "fraction for a whole number": Mistake("seed: 1.5\n", 5, "seed", "a whole number"),
    "bool for a number": Mistake("seed: yes\n", 5, "seed", "a whole number"),
    "below the range": Mistake("training: {lora_r: 0}\n", 5, "training.lora_r", "from 1 to 1024 (got 0)"),
    "above the range": Mistake("training:\n  learning_rate: 2\n", 6, "training.learning_rate", "above 0 and at most"),
    "a percentage": Mistake("goal: {margin: 5}\n", 5, "goal.margin", "5% is written 0.05"),
    "not a number": Mistake("goal: {target: .nan}\n", 5, "goal.target", "a number from 0 to 1"),
    "infinite": Mistake("training: {weight_decay: .inf}\n", 5, "training.weight_decay", "a number of 0 or more"),
    "not a choice": Mistake("training: {method: lorra}\n", 5, "training.method", "did you mean lora?"),
    "unknown choice": Mistake("training: {dtype: int3}\n", 5, "training.dtype", "one of auto, float32, bfloat16"),
    "unknown baseline": Mistake("baselines: [prompt, fewshot]\n", 5, "baselines[1]", "did you mean few_shot?"),
    "no baseline": Mistake("baselines: []\n", 5, "baselines", "must not be empty"),
    "baseline twice": Mistake("baselines: [prompt, prompt]\n", 5, "baselines[1]", "appears twice"),
    "a value for a section": Mistake("split: 3\n", 5, "split", "validation, test, group, stratify"),
    "a list for a value": Mistake("seed: [1]\n", 5, "seed", "a whole number"),
    "nothing for a value": Mistake("model:\n", 5, "model", "must be text"),
    "key twice": Mistake("seed: 1\nseed: 2\n", 6, "seed", "line 5 already"),
    "key twice in a section": Mistake("few_shot:\n  k: 2\n  k: 3\n", 7, "few_shot.k", "appears twice"),
    "no as a label": Mistake("labels: [no, maybe]\n", 5, "labels[0]", 'put it in quotes: "no"'),
    "Yes as a label": Mistake("labels:\n  - maybe\n  - Yes\n", 7, "labels[1]", 'put it in quotes: "Yes"'),
    "number as a label": Mistake("labels: [1, a]\n", 5, "labels[0]", 'put it in quotes: "1"'),
    "one label": Mistake("labels: [a]\n", 5, "labels", "at least two labels"),
    "label twice": Mistake("labels: [a, b, a]\n", 5, "labels[2]", "appears twice"),
    "empty label": Mistake('labels: [a, ""]\n', 5, "labels[1]", "must not be empty"),
    "label with white space": Mistake('labels: [a, " b"]\n', 5, "labels[1]", "white space"),
    "name and alias": Mistake("seed: 1\nrandom_state: 2\n", 6, "random_state", "says the same as seed (line 5)"),
    "two aliases": Mistake("n_epochs: 1\nepochs: 2\n", 6, "epochs", "says the same as n_epochs (line 5)"),
    "alias at the top, name below": Mistake(
        "lora_rank: 8\ntraining:\n  lora_r: 4\n", 5, "lora_rank", "says the same as training.lora_r (line 7)"
    ),
    "alias out of range": Mistake("lora_rank: 0\n", 5, "lora_rank", "a whole number from 1 to 1024"),
    "accumulation alone": Mistake("gradient_accumulation_steps: 4\n", 5, "gradient_accumulation_steps", "batch_size"),
    "two micro batches": Mistake(
        "micro_batch_size: 4\nper_device_train_batch_size: 2\n", 6, "per_device_train_batch_size", "micro_batch_size"
    ),
    "micro batch that is none": Mistake("micro_batch_size: a\n", 5, "micro_batch_size", "number of 1 or more"),
    "multiplier that is none": Mistake(
        "learning_rate_multiplier: -1\n", 5, "learning_rate_multiplier", "a number above 0"
    ),
    "what a peer has": Mistake("chat_template: chatml\n", 5, "chat_template", "own chat template is used"),
    "loss on the prompt": Mistake("train_on_inputs: true\n", 5, "train_on_inputs", "only answers are trained on"),
    "schema of another kind": Mistake("schema: {type: object}\n", 5, "schema", "for kind extraction"),
    "pattern of another kind": Mistake("pattern: a+\n", 5, "pattern", "for kind generation"),
    "bad pattern": Mistake("pattern: '('\n", 5, "pattern", "not a regular expression"),
    "metric of another kind": Mistake("goal: {metric: chrf}\n", 5, "goal.metric", "chrf is for kind generation"),
    "misspelt metric": Mistake("goal: {metric: acuracy}\n", 5, "goal.metric", "did you mean accuracy?"),
    "own metric misnamed": Mistake("goal: {metric: 'my metric:f'}\n", 5, "goal.metric", "module:function"),
    "format of another kind": Mistake("data_: 1\n", 5, "data_", "did you mean data?"),
    "split takes all": Mistake("split: {validation: 0.5, test: 0.5}\n", 5, "split", "leave nothing to train on"),
    "a share above 1": Mistake("split: {test: 1.5}\n", 5, "split.test", "count of rows and must be whole"),
    "no test": Mistake("split: {test: 0}\n", 5, "split.test", "sealed test"),
    "no such model": Mistake("model: ./missing\n", 5, "model", "no such model file or folder"),
    "no such embedding model": Mistake(
        "embedding_probe: {model: ./missing}\n", 5, "embedding_probe.model", "no such model file or folder"
    ),
    "no such model of the search": Mistake(
        "retrieval: {model: ../missing}\n", 5, "retrieval.model", "no such model file or folder"
    ),
    "tag": Mistake("seed: !!python/object:os.system 3\n", 5, "seed", "YAML tags are not supported"),
    "merge of no mapping": Mistake("few_shot:\n  <<: 3\n", 6, "few_shot", "<< merges a mapping"),
    "rag without documents": Mistake("baselines: [rag]\n", 5, "baselines[0]", "no documents to retrieve from"),
    "context without documents": Mistake("training: {context: retrieved}\n", 5, "training.context", "no documents"),
    "missing documents": Mistake("retrieval: {documents: x}\n", 5, "retrieval.documents[0]", "no such data file"),
    "overlap": Mistake("retrieval: {overlap_words: 90}\n", 5, "retrieval.overlap_words", "at most 75"),
    "no passages": Mistake("retrieval: {k: 0}\n", 5, "retrieval.k", "1"),
    "preferences for another kind": Mistake(
        "training: {objective: dpo}\n", 5, "training.objective", "dpo learns from preferences"
    ),
    "a setting of another objective": Mistake(
        "training:\n  beta: 0.3\n", 6, "training.beta", "the objective here is sft"
    ),
    "a stage without counterpart": Mistake("stage: ppo\n", 5, "stage", "only the stages sft, dpo and kto"),
    "a loss without counterpart": Mistake("loss_type: hinge\n", 5, "loss_type", "sigmoid, ipo, orpo"),
    "empty module list": Mistake("training: {lora_target_modules: []}\n", 5, "training.lora_target_modules", "empty"),
}  # fmt: skip


PREFERENCE = GOOD.replace("classification", "preference")
PREFERENCE_MISTAKES = {
    "rag": Mistake("baselines: [rag]\n", 5, "baselines[0]", "retrieval is not for kind preference"),
    "embedding probe": Mistake("baselines: [embedding_probe]\n", 5, "baselines[0]", "answers with labels"),
    "few-shot": Mistake("baselines: [prompt, few_shot]\n", 5, "baselines[1]", "few_shot is not for kind preference"),
    "gamma for dpo": Mistake("simpo_gamma: 2\n", 5, "simpo_gamma", "for the objective simpo"),
    "smoothing for ipo": Mistake(
        "training: {dpo_loss: ipo, label_smoothing: 0.1}\n", 5, "training.label_smoothing", "ipo has none"
    ),
    "too much smoothing": Mistake("label_smoothing: 0.5\n", 5, "label_smoothing", "below 0.5"),
    "no weight at all": Mistake(
        "training: {objective: kto, kto_desirable_weight: 0, kto_undesirable_weight: 0}\n",
        5, "training.kto_desirable_weight", "nothing would be learned",
    ),
    "labels": Mistake("labels: [a, b]\n", 5, "labels", "for kind classification"),
    "metric": Mistake("goal: {metric: accuracy}\n", 5, "goal.metric", "accuracy is for kind classification"),
    "beta of nothing": Mistake("rl_beta: 0\n", 5, "rl_beta", "a number above 0"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PREFERENCE_MISTAKES.values(), ids=PREFERENCE_MISTAKES.keys())
def test_mistakes_in_a_preference_task(folder: Path, mistake: Mistake) -> None:
    file = folder / "burnish.yaml"
    file.write_text(PREFERENCE + mistake.text)
    with pytest.raises(ConfigError) as caught:
        load_task(file)
    [problem] = caught.value.problems
    assert (problem.line, problem.field) == (mistake.line, mistake.key)
    assert mistake.said in str(problem)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_has_its_line_its_key_and_its_fix(folder: Path, mistake: Mistake) -> None:
    file = folder / "burnish.yaml"
    file.write_text(GOOD + mistake.text)
    with pytest.raises(ConfigError) as caught:
        load_task(file)
    found = [p for p in caught.value.problems if (p.line, p.field) == (mistake.line, mistake.key)]
    assert found, str(caught.value)
    assert any(mistake.said in str(problem) for problem in found), str(caught.value)
    assert all(problem.fix for problem in caught.value.problems)
    assert f"{file}:{mistake.line}:{mistake.key}: " in str(caught.value)


SYNTAX = {
    "tab": ("seed: 3\n\tmodel: a\n", "spaces"),
    "colon in a value": ("model: a: b\n", "quotes"),
    "open quote": ('model: "abc\n', "quote is opened"),
    "open list": ("labels: [a, b\nseed: 3\n", "not closed"),
    "open mapping": ("split: {test: 3\nseed: 3\n", "not closed"),
    "bad indentation": ("split:\n    test: 3\n  validation: 3\n", "indentation"),
    "percent": ("model: %a\n", "quotes"),
    "undefined alias": ("model: *a\n", "quotes"),
    "second document": ("---\nname: b\n", "second document"),
    "escape": ('model: "a\\qb"\n', "single quotes"),
    "control character": ("model: a\x07\n", "control character"),
    "no colon": ("model\n", "colon"),
}


@pytest.mark.parametrize(("text", "said"), SYNTAX.values(), ids=SYNTAX.keys())
def test_a_syntax_error_has_its_line(folder: Path, text: str, said: str) -> None:
    (folder / "burnish.yaml").write_text(GOOD + text)
    with pytest.raises(ConfigError) as caught:
        load_task(folder)
    (problem,) = caught.value.problems
    assert 5 <= problem.line <= 7
    assert said in str(problem)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"- a\n", "a task file is a mapping"),
        (b"just text\n", "a task file is a mapping"),
        (b"name: a\nkind: caf\xe9\n", ":2: the file is not UTF-8"),
        (b"\xff\xfen\x00", "not UTF-8"),
        (b"a: &a [*a]\n", "holds itself"),
        (b"a: " + b"[" * 1200 + b"\n", "nested too deeply"),
    ],
)
def test_files_that_are_no_task(folder: Path, content: bytes, said: str) -> None:
    (folder / "burnish.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_task(folder)
    assert said in str(caught.value)


def test_aliases_that_expand_without_end_are_refused(folder: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    (folder / "burnish.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="too many values"):
        load_task(folder)


def test_all_mistakes_of_a_file_are_reported_together_in_order(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(
        "name: a b\nkind: classification\ninstruction: x\ndata: rowz.jsonl\n"
        "goal: {metric: chrf}\nseed: 1\nseed: 2\nlora_rank: 0\nlabels: [no, a]\nzzz: 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_task(folder)
    problems = caught.value.problems
    assert [p.line for p in problems] == [1, 4, 5, 7, 8, 9, 10]
    assert "7 mistakes" in str(caught.value)
    assert "did you mean rows.jsonl?" in str(problems[1])
    assert len(caught.value.to_dict()["problems"]) == 7


def test_missing_settings_are_named_with_an_example(folder: Path) -> None:
    (folder / "burnish.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_task(folder)
    assert sorted(p.field for p in caught.value.problems) == ["data", "instruction", "kind", "name"]
    assert all(p.what == "is missing" and p.fix.startswith("add a line") for p in caught.value.problems)


def test_a_misspelt_required_key_is_one_mistake(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(GOOD.replace("instruction:", "instructions:"))
    with pytest.raises(ConfigError) as caught:
        load_task(folder)
    assert [p.field for p in caught.value.problems] == ["instructions"]


@pytest.mark.parametrize(
    ("schema", "where", "said"),
    [
        ('{"type": "object",\n "properties": {"a": 1,}\n}', ":2:2", "remove the comma"),
        ("{'type': 'object'}", ":1:2: ", "double quotes"),
        ('{"type": "object"\n // note\n}', ":2:2: ", "no comments"),
        ("", ":1:1: ", "empty"),
        ('{"type": "object", "type": "object"}', ":1: ", "appears twice"),
        ("[1]", "schema.json:1: ", "a JSON object"),
        ('{"type": "array"}', ":type: ", "set type: object"),
        ('{"properties": {}}', "schema.json: ", "set type: object"),
        ('{"type": "object", "properties": {"a": {"type": "strin"}}}', ":properties.a.type: ", "string"),
        ('{"type": "object", "required": "a"}', ":required: ", "of type array"),
        ('{"type": "object", "propertis": {}}', ":propertis: ", "did you mean properties?"),
        ('{"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}', ":properties.a.$ref: ", "leads nowhere"),
        ('{"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}', ":properties.a.$ref: ", "leads nowhere"),
        (
            '{"type": "object", "properties": {"a": {"pattern": "("}}}',
            ":properties.a.pattern: ",
            "regular expression",
        ),
        ('{"type": "object", "properties": {"colour": {}}, "required": ["color"]}', ":required[0]: ", "colour?"),
    ],
)
def test_mistakes_in_a_schema_file(folder: Path, schema: str, where: str, said: str) -> None:
    (folder / "schema.json").write_text(schema)
    (folder / "burnish.yaml").write_text(EXTRACTION + "schema: schema.json\n")
    with pytest.raises(ConfigError) as caught:
        load_task(folder)
    assert where in str(caught.value)
    assert said in str(caught.value)
    assert "schema.json" in caught.value.problems[0].file


def test_mistakes_in_a_schema_in_the_task_file_have_its_lines(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(
        EXTRACTION + "schema:\n  type: object\n  properties:\n    a: {type: nubmer}\n"
    )
    with pytest.raises(ConfigError, match=r"burnish\.yaml:8:schema\.properties\.a\.type: "):
        load_task(folder)


def test_extraction_needs_a_schema(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(EXTRACTION)
    with pytest.raises(ConfigError, match="kind extraction needs a schema"):
        load_task(folder)
    (folder / "burnish.yaml").write_text(EXTRACTION + "schema: nowhere.json\n")
    with pytest.raises(ConfigError, match=r":5:schema: there is no such schema file"):
        load_task(folder)


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no burnish\.yaml"):
        load_task(tmp_path)
    (tmp_path / "task.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"task files there: task\.yaml"):
        load_task(tmp_path / "tsk.yaml")
    with pytest.raises(ConfigError, match=r"task\.yaml:4:data\.train\[0\]: there is no such data file"):
        load_task(tmp_path / "task.yaml")


def test_the_same_file_in_two_parts(folder: Path) -> None:
    mapping = {"name": "a", "kind": "classification", "instruction": "x"}
    with pytest.raises(ConfigError, match=r"^data\.test\[0\]: the file is in data\.train already"):
        task_from(mapping | {"data": {"train": "rows.jsonl", "test": "rows.jsonl"}}, folder)


def test_mistakes_in_python_values_name_the_key_alone(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        task_from({"name": "a", "kind": "classification", "instruction": "x", "data": "rows.jsonl", "sed": 1}, folder)
    assert str(caught.value) == "sed: unknown key (got 1)\n  fix: did you mean seed?"


def test_mistakes_in_overrides(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(GOOD)
    with pytest.raises(ConfigError) as caught:
        load_task(folder, ["training.lora_r=0", "seed", "goal.margn=1", "=3"])
    text = str(caught.value)
    assert "--set:training.lora_r: must be a whole number from 1 to 1024 (got 0)" in text
    assert "an override is key=value (got 'seed')" in text
    assert "--set:goal.margn: unknown key" in text
    assert "(got '=3')" in text


def test_a_mistake_in_an_overridden_list_is_not_looked_for_in_the_file(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(GOOD + "baselines: [majority, prompt]\n")
    with pytest.raises(ConfigError) as caught:
        load_task(folder, ["baselines=[majorty]"])
    assert str(caught.value).startswith("--set:baselines[0]: must be one of majority")


def test_two_stars_within_a_name_are_no_pattern(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"\*\* stands alone between slashes"):
        load_task(folder, ["data=rows**"])


def test_an_empty_model_is_refused(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match="--set:model: must not be empty"):
        load_task(folder, ["model="])


def test_a_list_of_sections_given_as_text(folder: Path) -> None:
    (folder / "burnish.yaml").write_text(GOOD)
    with pytest.raises(ConfigError) as caught:
        load_task(folder, ["mixture=more.jsonl"])
    assert "must be a list of mappings (indented `key: value` lines) (got 'more.jsonl')" in str(caught.value)
    assert "fix: a list of one is written [more.jsonl]" in str(caught.value)


keys = st.sampled_from(
    ["name", "kind", "data", "labels", "schema", "training", "goal", "split", "seed", "r", "lr", "micro_batch_size",
     "gradient_accumulation_steps", "hyperparameters", "learning_rate_multiplier", "train", "metric", "lora_target",
     "baselines", "pattern", "model", "use_peft", "few_shot", "optim", "type", "properties", "\x00", "é"]
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(
    ["auto", "classification", "extraction", "generation", "tool_calling", "rows.jsonl", "~nobody/x", "*", "a" * 400]
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


@given(mapping=st.dictionaries(keys, values, max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mapping_breaks_the_reader(folder: Path, mapping: dict[str, object]) -> None:
    base = {"name": "a", "kind": "classification", "instruction": "x", "data": "rows.jsonl"}
    try:
        task_from(base | mapping, folder)
    except BurnishError as error:
        json.dumps(error.to_dict())


@given(
    text=st.text(max_size=60) | st.lists(st.sampled_from(list(":-#[]{}&*!|>'\"%@` \n\tab")), max_size=30).map("".join)
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_breaks_the_reader(folder: Path, text: str) -> None:
    (folder / "burnish.yaml").write_text(GOOD + text, encoding="utf-8", errors="surrogatepass")
    with suppress(BurnishError):
        load_task(folder)
