"""The task file as it should be: forms, defaults, peers' names, overrides, the schema for editors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from burnish.config import (
    METRICS,
    LoadedTask,
    Settings,
    TaskConfig,
    TrainingConfig,
    json_schema_of_task_file,
    load_task,
    task_from,
)
from burnish.config.aliases import ALIASES, ALREADY, REFUSED
from burnish.config.names import ALL_NAMES
from burnish.config.words import node_at
from burnish.config.yaml_tree import dotted, read_scalar, read_yaml
from burnish.errors import ConfigError
from burnish.records import KINDS

BASE = {"name": "mail", "kind": "classification", "instruction": "Say which team.", "data": "rows.jsonl"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("rows.jsonl", "more.jsonl", "test.csv"):
        (tmp_path / name).write_text("{}\n")
    return tmp_path


def read(folder: Path, text: str) -> LoadedTask:
    (folder / "burnish.yaml").write_text(yaml.safe_dump(BASE) + text)
    return load_task(folder / "burnish.yaml")


# --- forms -----------------------------------------------------------------------------------------------------


def test_the_file_of_the_design_document(tmp_path: Path) -> None:
    (tmp_path / "procedures.jsonl").write_text("{}\n")
    (tmp_path / "schema.json").write_text('{"type": "object", "properties": {"operation": {"type": "string"}}}')
    (tmp_path / "burnish.yaml").write_text(
        "name: procedure-coding\nkind: extraction\ninstruction: Turn the procedure shorthand into JSON.\n"
        "schema: schema.json\ndata: procedures.jsonl\n"
        "goal: {metric: exact_match, target: 0.80, margin: 0.05}\nmodel: smollm2-135m-instruct\n"
        "training: {method: lora, lora_r: 16, lora_alpha: 32, learning_rate: 1.0e-3, num_epochs: 2}\n"
        "baselines: [majority, prompt, few_shot]\nsplit: {validation: 0.1, test: 0.15, group: procedure}\nseed: 7\n"
    )
    loaded = load_task(tmp_path)
    assert loaded.notices == []
    assert loaded.path == tmp_path / "burnish.yaml"
    assert loaded.base_dir == tmp_path
    config = loaded.config
    assert config.json_schema == {"type": "object", "properties": {"operation": {"type": "string"}}}
    assert config.data.train == [tmp_path / "procedures.jsonl"]
    assert config.training.learning_rate == 1e-3
    assert config.split.group == "procedure"


@pytest.mark.parametrize(
    ("data", "train", "test"),
    [
        ("rows.jsonl", ["rows.jsonl"], []),
        (["rows.jsonl", "more.jsonl"], ["rows.jsonl", "more.jsonl"], []),
        ({"train": "rows.jsonl"}, ["rows.jsonl"], []),
        ({"train": ["rows.jsonl", "more.jsonl"], "test": "test.csv"}, ["rows.jsonl", "more.jsonl"], ["test.csv"]),
        ("*.jsonl", ["more.jsonl", "rows.jsonl"], []),
        ("./rows.jsonl", ["rows.jsonl"], []),
    ],
)
def test_data_as_path_list_and_mapping(folder: Path, data: Any, train: list[str], test: list[str]) -> None:
    config = task_from(BASE | {"data": data}, folder).config
    assert config.data.train == [folder / name for name in train]
    assert config.data.test == [folder / name for name in test]


def test_paths_start_from_the_task_file_not_from_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(folder, "")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert load_task("../burnish.yaml").config.data.train == [folder / "rows.jsonl"]


@pytest.mark.parametrize("given", ["../rows/a.jsonl", "../rows/*.jsonl", "../../real/rows/a.jsonl"])
def test_paths_that_go_up_are_shown_without_dots(tmp_path, given):
    """A pattern, too, and through a link: ../ is taken from where the task file really is."""
    (tmp_path / "real" / "task").mkdir(parents=True)
    (tmp_path / "real" / "rows").mkdir()
    (tmp_path / "real" / "rows" / "a.jsonl").write_text('{"input": "a", "output": "b"}\n')
    (tmp_path / "link").symlink_to(tmp_path / "real" / "task")
    text = f"name: t\nkind: generation\ninstruction: '?'\ndata: {given}\n"
    (tmp_path / "real" / "task" / "burnish.yaml").write_text(text)
    assert load_task(tmp_path / "link").config.data.train == [tmp_path.resolve() / "real" / "rows" / "a.jsonl"]


def test_a_local_model_becomes_absolute_and_other_names_stay(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own" / "config.json").write_text("{}")
    (folder / "m.gguf").write_text("")
    for given_, wanted in (
        ("own", str(folder / "own")), ("./own", str(folder / "own")), ("m.gguf", str(folder / "m.gguf")),
        ("smollm2-135m-instruct", "smollm2-135m-instruct"), ("org/name", "org/name"),
    ):  # fmt: skip
        config = task_from(
            BASE | {"model": given_, "embedding_probe": {"model": given_}, "retrieval": {"model": given_}}, folder
        ).config
        assert (config.model, config.embedding_probe.model, config.retrieval.model) == (wanted,) * 3


def test_base_is_no_folder_for_the_embedding_probe(folder: Path) -> None:
    (folder / "base").mkdir()
    (folder / "base" / "config.json").write_text("{}")
    assert task_from(BASE | {"embedding_probe": {"model": "base"}}, folder).config.embedding_probe.model == "base"


def test_a_folder_that_finds_names_becomes_absolute_and_a_package_stays(folder: Path) -> None:
    (folder / "own").mkdir()
    for given_, wanted in (("own", str(folder / "own")), ("xx_own", "xx_own")):
        assert task_from(BASE | {"check": {"names_model": given_}}, folder).config.check.names_model == wanted


def test_a_schema_may_be_a_mapping(folder: Path) -> None:
    schema = {"type": "object", "properties": {"type": {"type": "string"}, "required": {"type": "integer"}}}
    mapping = BASE | {"kind": "extraction", "schema": schema}
    assert task_from(mapping, folder).config.json_schema == schema


def test_a_config_survives_json(folder: Path) -> None:
    config = task_from(BASE | {"labels": ["a", "b"], "training": {"lora_r": 4}}, folder).config
    assert TaskConfig.model_validate_json(config.model_dump_json(by_alias=True)) == config


def test_byte_order_mark_and_crlf(folder: Path) -> None:
    (folder / "burnish.yaml").write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(BASE).replace("\n", "\r\n").encode())
    assert load_task(folder).config.name == "mail"


# --- YAML as people write it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E3", 1000.0), ("2.5e-4", 0.00025), ("1.0e-3", 0.001), (".5", 0.5), ("3.", 3.0),
        ("-3", -3), ("1_000", 1000), ("12:30", "12:30"), ("2024-05-01", "2024-05-01"), ("007", "007"),
        ("0x1f", "0x1f"), ("yes", True), ("off", False), ("null", None), ("~", None), ("'1e-3'", "1e-3"),
        ('"no"', "no"), ("v1.0", "v1.0"), ("1.0.0", "1.0.0"), ("e3", "e3"), ("[a, 1]", ["a", 1]),
        ("{a: 1}", {"a": 1}),
        ("", ""), ("a: b: c", "a: b: c"), ("[", "["),
    ],
)  # fmt: skip
def test_scalars(text: str, value: Any) -> None:
    got = read_scalar(text)
    assert got == value
    assert type(got) is type(value)


def test_rates_without_a_dot_are_numbers(folder: Path) -> None:
    assert read(folder, "training: {learning_rate: 1e-3}\n").config.training.learning_rate == 0.001


@pytest.mark.parametrize("off", ["off", "'off'", "Off"])
def test_off_is_a_value_where_it_is_one(folder: Path, off: str) -> None:
    """YAML reads it as false, in a file and in an override."""
    config = read(folder, f"training: {{shared_prefix: {off}}}\ngoal: {{slices: {off}}}\n").config
    assert (config.training.shared_prefix, config.goal.slices) == ("off", "off")
    overridden = task_from(BASE, folder, [f"training.shared_prefix={off}"]).config
    assert overridden.training.shared_prefix == "off"
    with pytest.raises(ConfigError, match="lr_scheduler"):
        read(folder, "training: {lr_scheduler: off}\n")


def test_anchors_and_merges(folder: Path) -> None:
    text = "training: {<<: &t {lora_r: 4, num_epochs: 1}, lora_r: 8}\n"
    training = read(folder, text).config.training
    assert (training.lora_r, training.num_epochs) == (8, 1)


def is_text_to_both(text: str) -> bool:
    """1e5 is a number here and text to a writer of YAML 1.1."""
    return re.fullmatch(r"[-+]?[0-9._]+[eE][-+]?[0-9]+", text) is None


CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS, max_size=10).filter(is_text_to_both),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=3), plain, min_size=1, max_size=4))
def test_what_a_yaml_writer_writes_is_read_back(mapping: dict[str, Any]) -> None:
    tree = read_yaml(yaml.safe_dump(mapping, allow_unicode=True), "f")
    assert tree.values == mapping
    assert tree.problems == []

    def every(value: Any, key: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
        yield key
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, item in items:
            yield from every(item, (*key, name))

    assert set(every(mapping, ())) == set(tree.places)


# --- peers' names ----------------------------------------------------------------------------------------------

# One value that each alias takes, and what it becomes; the table of names in the field notes, and more.
ALIAS_VALUES: dict[str, tuple[Any, Any]] = {
    "base_model": ("m", "m"), "model_name_or_path": ("m", "m"), "model_name": ("m", "m"), "model_id": ("m", "m"),
    "system_prompt": ("Do it.", "Do it."), "default_system": ("Do it.", "Do it."),
    "dataset": ("rows.jsonl", None), "train_file": ("rows.jsonl", None), "training_file": ("rows.jsonl", None),
    "validation_file": ("more.jsonl", None), "test_file": ("test.csv", None),
    "val_set_size": (0.2, 0.2), "val_size": (0.2, 0.2), "test_size": (0.2, 0.2),
    "classes": (["a", "b"], ["a", "b"]), "label_names": (["a", "b"], ["a", "b"]),
    "json_schema": ({"type": "object"}, {"type": "object"}),
    "output_schema": ({"type": "object"}, {"type": "object"}),
    "regex": ("a+", "a+"), "task_type": ("generation", "generation"),
    "random_state": (3, 3), "random_seed": (3, 3),
    "report_to": ("wandb", ["wandb"]), "n_trials": (9, 9),
    "max_new_tokens": (9, 9), "max_tokens": (9, 9), "temperature": (0.5, 0.5),
    "adapter": ("lora", "lora"), "finetuning_type": ("lora", "lora"), "use_peft": (True, "lora"),
    "sequence_len": (99, 99), "cutoff_len": (99, 99), "max_seq_length": (99, 99), "max_seq_len": (99, 99),
    "model_max_length": (99, 99), "num_train_epochs": (4, 4), "n_epochs": (4, 4), "epochs": (4, 4),
    "lr": ("1e-4", 1e-4),
    "lr_scheduler_type": ("constant_with_warmup", "constant"), "lora_rank": (8, 8), "r": (8, 8),
    "lora_target": ("q_proj, v_proj", ["q_proj", "v_proj"]), "target_modules": (["q_proj"], ["q_proj"]),
    "lora_target_linear": (True, "all-linear"), "max_train_steps": (10, 10), "save_steps": (5, 5),
    "use_rslora": (True, True), "peft_use_rslora": (True, True), "activation_checkpointing": (True, True),
    "mask_history": (False, "all"), "assistant_only_loss": (True, "all"), "roles_to_train": (["assistant"], "all"),
    "num_virtual_tokens": (30, 30), "fsdp": ("full_shard auto_wrap", "fsdp"),
    "stage": ("kto", "kto"), "pref_beta": (0.2, 0.2), "rl_beta": (0.3, 0.3), "orpo_alpha": (0.4, 0.4),
    "dpo_label_smoothing": (0.1, 0.1), "desirable_weight": (2.0, 2.0), "undesirable_weight": (2.0, 2.0),
    "kto_chosen_weight": (1.5, 1.5), "kto_rejected_weight": (1.5, 1.5),
    "save_total_limit": (1, 1), "bf16": (True, "bfloat16"), "fp16": (True, "float16"),
    "torch_dtype": ("float32", "float32"),
    "optim": ("paged_adamw_8bit", "adamw_8bit"),
}  # fmt: skip
PREFERENCES = {"objective", "beta", "label_smoothing", "kto_desirable_weight", "kto_undesirable_weight"}
KIND_OF = {
    "schema": "extraction", "pattern": "generation",
    **{f"training.{name}": "preference" for name in PREFERENCES},
}  # fmt: skip
FIELD_NOTES = """base_model model_name_or_path model sequence_len cutoff_len max_seq_length max_length num_epochs
num_train_epochs n_epochs micro_batch_size per_device_train_batch_size batch_size gradient_accumulation_steps
learning_rate learning_rate_multiplier lora_r lora_alpha lora_dropout lora_target_modules lora_rank lora_target r
beta pref_beta rl_beta train_on_inputs roles_to_train train_on_prompt mask_history completion_only_loss
assistant_only_loss"""


def test_every_name_of_the_field_is_known() -> None:
    own = set(TrainingConfig.model_fields) | set(TaskConfig.model_fields)
    assert set(FIELD_NOTES.split()) <= own | ALL_NAMES


def test_the_alias_table_is_sound() -> None:
    assert set(ALIAS_VALUES) == set(ALIASES)
    own = {info.alias or name for name, info in TaskConfig.model_fields.items()} | set(TrainingConfig.model_fields)
    assert not own & ALL_NAMES
    assert set(ALIASES) & (set(ALREADY) | set(REFUSED)) == {"fp16"}
    for alias in ALIASES.values():
        assert node_at(alias.target.split(".")) is not None, alias


@pytest.mark.parametrize("name", sorted(ALIASES))
@pytest.mark.parametrize("under", ["top", "training"])
def test_an_alias_is_read_with_one_notice(folder: Path, name: str, under: str) -> None:
    target = ALIASES[name].target
    given_, wanted = ALIAS_VALUES[name]
    mapping: dict[str, Any] = {key: value for key, value in BASE.items() if key != target.split(".")[0]}
    if target in ("data.validation", "data.test"):
        mapping["data"] = "rows.jsonl"
    if target in KIND_OF:
        mapping["kind"] = KIND_OF[target]
    training = {"objective": "kto"} if "kto" in target else {}
    mapping["training"] = training if under == "top" else {**training, name: given_}
    if under == "top":
        mapping[name] = given_
    loaded = task_from(mapping, folder)
    written = name if under == "top" else f"training.{name}"
    assert loaded.notices == [f"{written} is read as {target}"]
    node: Any = loaded.config
    for part in target.split("."):
        node = getattr(node, "json_schema" if part == "schema" else part)
    if wanted is not None:
        assert node == wanted
    else:
        assert given_ in str(node)


@pytest.mark.parametrize("written", ["often", 0.5, -1, [1]])
def test_a_value_that_is_no_member_of_a_union_is_told_once(folder: Path, written: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        task_from({**BASE, "training": {"gradient_checkpointing": written}}, folder)
    [problem] = caught.value.problems
    assert problem.field == "training.gradient_checkpointing"
    assert problem.what == "must be true or false or a whole number of 2 or more"


def test_fsdp_of_transformers_may_leave_weights_whole(folder: Path) -> None:
    loaded = task_from({**BASE, "training": {"fsdp": ["shard_grad_op", "auto_wrap"]}}, folder)
    assert loaded.config.training.sharding == "shard_grad_op"


PAIRS = {"name": "replies", "kind": "preference", "instruction": "Answer.", "data": "rows.jsonl"}


def test_the_defaults_of_preference(folder: Path) -> None:
    loaded = task_from(PAIRS, folder)
    assert loaded.notices == []
    assert loaded.config.training.objective == "dpo"
    assert loaded.config.training.beta == 0.1
    assert loaded.config.baselines == ["majority", "prompt"]
    own = task_from(PAIRS | {"training": {"objective": "sft", "lora_r": 4}, "baselines": ["prompt"]}, folder).config
    assert (own.training.objective, own.training.lora_r, own.baselines) == ("sft", 4, ["prompt"])
    assert task_from(BASE, folder).config.training.objective == "sft"
    assert task_from(PAIRS | {"training": {"objective": "simpo"}}, folder).config.training.beta == 2
    assert task_from(PAIRS | {"training": {"objective": "simpo", "beta": 3}}, folder).config.training.beta == 3
    # What is stored with a run is read back as the same.
    assert TaskConfig.model_validate(own.model_dump(mode="json", by_alias=True)) == own


@pytest.mark.parametrize(
    ("given_", "objective", "dpo_loss"),
    [
        ({"rl": "ipo"}, "dpo", "ipo"),
        ({"rl": "simpo"}, "simpo", "sigmoid"),
        ({"loss_type": "sigmoid"}, "dpo", "sigmoid"),
        ({"stage": "dpo", "pref_loss": "orpo"}, "orpo", "sigmoid"),
        ({"pref_loss": "kto_pair", "stage": "dpo"}, "kto", "sigmoid"),
        ({"stage": "dpo", "pref_loss": "ipo"}, "dpo", "ipo"),
    ],
)
def test_losses_by_their_names_elsewhere(folder: Path, given_: dict[str, str], objective: str, dpo_loss: str) -> None:
    training = task_from(PAIRS | given_, folder).config.training
    assert (training.objective, training.dpo_loss) == (objective, dpo_loss)


def test_openais_beta(folder: Path) -> None:
    loaded = task_from(PAIRS | {"hyperparameters": {"beta": 0.3, "n_epochs": 2}}, folder)
    assert (loaded.config.training.beta, loaded.config.training.num_epochs) == (0.3, 2)
    assert task_from(PAIRS | {"hyperparameters": {"beta": "auto"}}, folder).config.training.beta == 0.1


def test_the_notice_of_the_issue(folder: Path) -> None:
    assert read(folder, "num_train_epochs: 4\n").notices == ["num_train_epochs is read as training.num_epochs"]


def test_training_names_are_accepted_at_the_top(folder: Path) -> None:
    loaded = read(folder, "learning_rate: 1e-4\nlora_r: 8\n")
    assert (loaded.config.training.learning_rate, loaded.config.training.lora_r) == (1e-4, 8)
    assert loaded.notices == ["learning_rate is read as training.learning_rate", "lora_r is read as training.lora_r"]


@pytest.mark.parametrize("micro", ["micro_batch_size", "per_device_train_batch_size"])
def test_micro_batch_times_accumulation(folder: Path, micro: str) -> None:
    loaded = read(folder, f"{micro}: 4\ngradient_accumulation_steps: 8\n")
    assert loaded.config.training.batch_size == 32
    assert loaded.notices == [f"{micro} x gradient_accumulation_steps is read as training.batch_size (4 x 8 = 32)"]
    alone = read(folder, f"{micro}: 4\n")
    assert alone.config.training.batch_size == 4
    assert alone.notices == [f"{micro} is read as training.batch_size"]


def test_openais_hyperparameters(folder: Path) -> None:
    loaded = read(folder, "hyperparameters: {n_epochs: auto, batch_size: 2, learning_rate_multiplier: 2}\n")
    training = loaded.config.training
    assert (training.num_epochs, training.batch_size, training.learning_rate) == (3, 2, pytest.approx(4e-4))
    assert len(loaded.notices) == 3
    assert "hyperparameters.n_epochs: auto keeps the default training.num_epochs (3)" in loaded.notices
    assert any("2 x 0.0002 = 0.0004" in notice for notice in loaded.notices)


@pytest.mark.parametrize(
    ("text", "optimizer", "notices"),
    [
        ("optimizer: adamw_bnb_8bit", "adamw_8bit", ["optimizer is read as training.optimizer"]),
        (
            "training: {optimizer: adamw_hf}",
            "adamw",
            ["training.optimizer: adamw_hf is read as adamw"],
        ),
        ("training: {optimizer: adamw_8bit}", "adamw_8bit", []),
        ("optim: adamw_torch", "adamw", ["optim is read as training.optimizer"]),
    ],
)
def test_optimizers_by_their_names_elsewhere(folder: Path, text: str, optimizer: str, notices: list[str]) -> None:
    loaded = read(folder, text + "\n")
    assert (loaded.config.training.optimizer, loaded.notices) == (optimizer, notices)


def test_an_optimizer_that_is_not_here_is_named_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ConfigError, match="adamw_8bit") as caught:
        read(folder, "optim: adafactor\n")
    assert "optim" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("fp16: true", "float16"),
        ("bf16: false\nfp16: true", "float16"),
        ("fp16: false\nbf16: true", "bfloat16"),
        ("bf16: false\nfp16: false", "float32"),
        ("fp16: false", "auto"),
        ("bf16: auto", "auto"),
        ("training: {dtype: float16}", "float16"),
    ],
)
def test_number_formats_by_their_names_elsewhere(folder: Path, text: str, dtype: str) -> None:
    assert read(folder, text + "\n").config.training.dtype == dtype


def test_two_number_formats_are_one_too_many(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"both set training\.dtype"):
        read(folder, "bf16: true\nfp16: true\n")


@pytest.mark.parametrize(
    "training",
    [
        {"method": "ia3", "loraplus_lr_ratio": 16},
        {"method": "full", "sharding": "fsdp", "optimizer": "adamw_8bit"},
    ],
)
def test_optimizer_settings_that_do_not_fit_are_refused(folder: Path, training: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"training\.(loraplus_lr_ratio|optimizer)"):
        task_from(BASE | {"training": training}, folder)


def test_names_that_say_what_happens_anyway(folder: Path) -> None:
    loaded = read(folder, "train_on_inputs: false\ndo_train: true\n")
    assert loaded.notices == [
        "train_on_inputs: false changes nothing: only answers are trained on",
        "do_train: true changes nothing: `burnish run` trains",
    ]


def test_settings_that_have_no_effect_are_told(folder: Path) -> None:
    loaded = task_from(
        BASE | {"data": {"train": "rows.jsonl", "test": "test.csv"}, "split": {"test": 0.2}},
        folder,
    )
    assert loaded.notices == ["split.test is not used: data.test names files"]


# --- overrides -------------------------------------------------------------------------------------------------


def test_overrides_win_under_any_name(folder: Path) -> None:
    read(folder, "num_train_epochs: 4\ntraining: {lora_r: 4, lora_alpha: 8}\n")
    loaded = load_task(folder, ["training.num_epochs=1", "lora_rank=2", "goal.metric=macro_f1", "data.test=test.csv"])
    training = loaded.config.training
    assert (training.num_epochs, training.lora_r, training.lora_alpha) == (1, 2, 8)
    assert loaded.config.goal.metric == "macro_f1"
    assert loaded.config.data.train == [folder / "rows.jsonl"]
    assert loaded.config.data.test == [folder / "test.csv"]


# --- shapes ----------------------------------------------------------------------------------------------------


def sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for info in model.model_fields.values():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from sections(info.annotation)
        for part in get_args(info.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from sections(part)


def test_every_setting_has_a_description() -> None:
    assert set(sections(TaskConfig)) == {TaskConfig, *Settings.__subclasses__()}
    for model in sections(TaskConfig):
        assert model.__doc__
        for name, info in model.model_fields.items():
            assert info.description, f"{model.__name__}.{name}"
            assert info.description.endswith("."), f"{model.__name__}.{name}"


def test_every_kind_has_metrics_and_settings_are_frozen() -> None:
    assert tuple(METRICS) == KINDS
    with pytest.raises(ValueError, match="frozen"):
        TrainingConfig().lora_r = 3  # type: ignore[misc]


def test_the_schema_for_editors(folder: Path) -> None:
    schema = json_schema_of_task_file()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for data in ("rows.jsonl", ["rows.jsonl"], {"train": "rows.jsonl", "test": ["a"]}):
        assert not list(validator.iter_errors(BASE | {"data": data}))
    for json_schema in ("schema.json", {"type": "object"}):
        assert not list(validator.iter_errors(BASE | {"schema": json_schema}))
    for bad in ({"data": 3}, {"seed": -1}, {"lables": []}, {"schema": 3}, {"training": {"lora_r": 0}}, {"kind": "x"}):
        assert list(validator.iter_errors(BASE | bad)), bad
    jsonschema.validate(yaml.safe_load((folder / "burnish.yaml").read_text()), schema) if read(folder, "") else None


def test_the_schema_describes_every_setting_with_its_default() -> None:
    schema = json_schema_of_task_file()
    for name, node in [("", schema), *schema["$defs"].items()]:
        for key, inner in node["properties"].items():
            assert inner.get("description"), f"{name}.{key}"
            assert "default" in inner or key in node["required"], f"{name}.{key}"


def test_dotted_names() -> None:
    assert dotted(("labels", 1)) == "labels[1]"
    assert dotted(("training", "lora_r")) == "training.lora_r"
    assert dotted((0, "a")) == "[0].a"
