"""The shapes of the settings: what burnish.yaml may hold, with ranges, defaults and descriptions.

Those of training, of the baselines and of hosted models have files of their own. Names follow the field. Reading a
file into these shapes (lines, aliases, plain words) is read.py's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from burnish.config.base import Settings
from burnish.config.baselines import EmbeddingProbeConfig, FewShotConfig, PromptConfig, RetrievalConfig
from burnish.config.hosted import NAME, HostedConfig
from burnish.config.rates import default_learning_rate
from burnish.config.training import TrainingConfig
from burnish.records import Kind

# Metrics of each kind; the first is the default of goal.metric. tasks/ implements exactly these.
METRICS: dict[Kind, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "extraction": ("exact_match", "field_f1", "field_accuracy", "valid"),
    "generation": ("chrf", "exact_match", "token_f1", "rouge_l", "pattern_match"),
    "tool_calling": ("call_match", "name_match", "argument_f1", "valid"),
    "preference": ("pair_accuracy", "length_controlled_win_rate"),
}

# The values of tune.search, for editors.
SEARCH_SCHEMA: dict[str, Any] = {
    "additionalProperties": {
        "anyOf": [
            {"type": "array", "minItems": 2},
            {
                "type": "object",
                "properties": {"low": {"type": "number"}, "high": {"type": "number"}, "log": {"type": "boolean"}},
                "required": ["low", "high"],
                "additionalProperties": False,
            },
        ]
    }
}


RowShape = Literal["auto", "messages", "prompt_completion", "alpaca", "sharegpt", "self_instruct", "bfcl", "gemini"]


class DataConfig(Settings):
    """Where the labelled examples are and how their columns are named."""

    train: list[Path] = Field(
        min_length=1, description="Files of labelled examples (JSON, JSONL, CSV, TSV, Parquet; .gz, .zst)."
    )
    validation: list[Path] = Field(default=[], description="Files to validate on instead of a split of train.")
    test: list[Path] = Field(default=[], description="Files to seal as the test instead of a split of train.")
    contamination: list[Path] = Field(
        default=[], description="Files of test material (rows, or lines of text) that no row to train on may hold."
    )
    answers: list[Path] = Field(default=[], description="Files with the answers of the rows, joined by their id.")
    format: Literal[RowShape, "classification", "extraction"] = Field(
        default="auto", description="Shape of the rows; auto detects and reports it."
    )
    text: str | None = Field(default=None, description="Column with the input text (default: text).")
    target: str | None = Field(default=None, description="Column with the label or the target.")
    weight: str | None = Field(default=None, description="Column with an example weight.")
    tools: str | None = Field(default=None, description="Column with function schemas (default: tools).")
    document: str | None = Field(
        default=None, description="Column that names the document with the answer, to measure retrieval by."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return {"train": value} if isinstance(value, str | Path | list | tuple) else value

    @field_validator("train", "validation", "test", "contamination", "answers", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path) else value


class CheckConfig(Settings):
    """What the data check looks for beside the usual."""

    names: bool = Field(default=False, description="Whether to look for names of persons (burnish[presidio]).")
    names_model: str = Field(
        default="en_core_web_lg", min_length=1, description="spaCy model that finds them: a package or a folder."
    )


class GoalConfig(Settings):
    """What the tuned model must reach to be shipped."""

    metric: str | None = Field(
        default=None, description="Primary metric, or module:function of your own (default: the kind's)."
    )
    target: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Value that the tuned model must reach on the sealed test."
    )
    margin: float = Field(
        default=0.05, ge=0, le=1, description="Least advantage over the best baseline (0.05 = 5 points)."
    )
    forgetting: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] | None = Field(
        default="auto",
        description="Most that the general probe may fall (0.05 = 5 points; null: any; auto: 0.05 for free text).",
    )
    slices: Literal["warn", "hold", "off"] = Field(
        default="warn",
        description="What a slice of the test that got worse does: warn, hold, or not looked at (off).",
    )


class ProbeConfig(Settings):
    """General questions answered before and after tuning: what was forgotten."""

    takes_bool: ClassVar[bool] = True  # probe: off

    enabled: bool = Field(default=True, description="Whether the probe runs; `probe: off` is short for false.")
    file: Path | None = Field(default=None, description="Multiple-choice questions (default: the built-in ones).")
    questions: int = Field(default=500, ge=10, description="At most this many questions of the file, chosen by hash.")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, bool) or value in ("off", "on"):
            return {"enabled": value is True or value == "on"}
        return {"file": value} if isinstance(value, str | Path) else value


class MixtureConfig(Settings):
    """One more data set to train on beside the task's own rows."""

    file: list[Path] = Field(min_length=1, description="Its files, in any shape that generation or chat rows have.")
    name: str | None = Field(default=None, description="What it is called in reports (default: the file's name).")
    weight: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="How often each of its rows is seen an epoch (default: 1)."
    )
    share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="Its share of an epoch's examples, instead of a weight."
    )
    format: RowShape = Field(default="auto", description="Shape of its rows.")
    text: str | None = Field(default=None, description="Column with the input.")
    target: str | None = Field(default=None, description="Column with the answer.")
    instruction: str | None = Field(default=None, description="System turn of rows that bring none.")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str | Path) else value

    @field_validator("file", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path) else value


class ReplayConfig(Settings):
    """General instructions trained on beside the task, against forgetting."""

    share: float = Field(default=0.0, ge=0, le=0.9, description="Share of an epoch's examples that are replayed.")
    file: list[Path] = Field(default=[], description="General instructions (default: the built-in ones).")
    answers: Literal["auto", "given", "base"] = Field(
        default="auto",
        description="given: the file's; base: the untuned model's own; auto: given with a file, else base.",
    )

    @field_validator("file", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path) else value


class SplitConfig(Settings):
    """How rows are divided. A number below 1 is a share, 1 or more a count of rows."""

    validation: float = Field(default=0.1, ge=0, description="Share or count of rows to validate on.")
    test: float = Field(default=0.15, ge=0, description="Share or count of rows in the sealed test.")
    group: str | None = Field(default=None, description="Column whose rows must stay in one part.")
    stratify: bool = Field(default=True, description="Keep every label in train and test where possible.")


class GenerationConfig(Settings):
    """How every local system answers: the same for baselines and tuned models."""

    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer in tokens.")
    constrain: bool = Field(default=True, description="Constrain answers to the labels or the JSON schema.")
    temperature: float = Field(default=0.0, ge=0, le=10, description="0 is greedy.")
    tokens_per_batch: int = Field(default=16384, ge=64, description="Token budget of one generation batch.")


class TuneConfig(Settings):
    """`burnish tune`: settings of training tried on the validation part."""

    trials: int = Field(default=20, ge=1, le=10_000, description="Trainings, the task file's own settings first.")
    timeout: float | None = Field(default=None, gt=0, description="Stop after this many minutes; --resume goes on.")
    trial_timeout: float | None = Field(default=None, gt=0, description="Most minutes of one trial.")
    metric: Literal["metric", "loss"] | None = Field(
        default=None, description="What the best trial is best at (default: training.select_by)."
    )
    search: dict[str, Any] = Field(  # config/search.py checks it
        default={},
        description="Setting of training to a list of values or {low, high, log} (default: rate, rank, epochs).",
        json_schema_extra=SEARCH_SCHEMA,
    )


class ContextConfig(Settings):
    """What a recommendation has to know and no measurement tells. null: not said."""

    changes_often: bool | None = Field(default=None, description="Whether right answers change within weeks.")
    needs_citations: bool | None = Field(default=None, description="Whether answers must cite where they are from.")
    private: bool | None = Field(default=None, description="Whether inputs may not leave the own machines.")
    max_latency_seconds: float | None = Field(default=None, gt=0, description="Longest time of one answer.")
    max_cost_per_thousand: float | None = Field(default=None, ge=0, description="Most USD for 1,000 requests.")
    requests_per_day: float | None = Field(default=None, gt=0, description="Requests expected a day.")


class CostsConfig(Settings):
    """What `burnish cost` and the advice count with."""

    minutes_per_row: float = Field(default=1.0, ge=0, description="Minutes of work to label or check a row.")
    hourly_wage: float | None = Field(default=None, ge=0, description="USD an hour of it (null: labour/labelling).")
    watts: float | None = Field(default=None, ge=0, description="Power of this machine at work, for the energy.")
    machine_per_hour: float = Field(default=0.0, ge=0, description="USD an hour of this machine besides energy.")
    retrain_days: float | None = Field(default=None, gt=0, description="Days between trainings (null: none).")
    retrain_share: float = Field(default=0.2, ge=0, description="Share of the rows labelled anew for each of them.")
    prices: Path | None = Field(default=None, description="A file of one's own prices, over the built-in ones.")


HostedName = Annotated[str, Field(pattern=NAME)]
BaselineName = Literal["majority", "prompt", "few_shot", "embedding_probe", "rag"]
TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class TaskConfig(Settings):
    """One task: what is to be learned, from what, how well, and how."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Short name; names the run folders.")
    kind: Kind = Field(description="What the answers are.")
    instruction: str = Field(min_length=1, description="What the model is told to do.")
    data: DataConfig = Field(description="A file, a list of files, or a mapping with train, validation and test.")
    check: CheckConfig = Field(default=CheckConfig(), description="What the data check looks for.")
    labels: list[str] | None = Field(default=None, description="classification: the labels (default: from the data).")
    json_schema: dict[str, Any] | None = Field(
        default=None,
        alias="schema",
        description="extraction: JSON Schema of the answer, or a file that holds it.",
    )
    pattern: str | None = Field(
        default=None, description="generation: regular expression that the whole answer should match."
    )
    goal: GoalConfig = Field(default=GoalConfig(), description="What the tuned model must reach to be shipped.")
    model: str = Field(
        default="smollm2-135m-instruct", min_length=1, description="Catalogue name, folder, .gguf file, or hub id."
    )
    training: TrainingConfig = Field(
        default=TrainingConfig(), validate_default=True, description="How the model is tuned."
    )
    baselines: list[BaselineName | HostedName] = Field(
        default=["majority", "prompt", "few_shot"],
        min_length=1,
        description="Systems to beat: built-in ones, and hosted models by their names.",
    )
    hosted: list[HostedConfig] = Field(default=[], description="Models behind an OpenAI-compatible endpoint.")
    prompt: PromptConfig = Field(default=PromptConfig(), description="Ways of prompting to try on validation.")
    few_shot: FewShotConfig = Field(default=FewShotConfig(), description="The few_shot baseline.")
    embedding_probe: EmbeddingProbeConfig = Field(
        default=EmbeddingProbeConfig(), description="The embedding_probe baseline."
    )
    retrieval: RetrievalConfig = Field(default=RetrievalConfig(), description="Documents to answer from.")
    generation: GenerationConfig = Field(default=GenerationConfig(), description="How local systems answer.")
    trackers: list[TrackerName] = Field(default=[], description="Experiment trackers that are told of the training.")
    tune: TuneConfig = Field(default=TuneConfig(), description="What `burnish tune` searches.")
    split: SplitConfig = Field(default=SplitConfig(), description="How rows are divided.")
    slices: list[str] = Field(default=[], description="Columns by which results are told apart, beside the usual.")
    mixture: list[MixtureConfig] = Field(default=[], description="Further data sets to train on, with weights.")
    replay: ReplayConfig = Field(default=ReplayConfig(), description="General instructions against forgetting.")
    probe: ProbeConfig = Field(default=ProbeConfig(), description="General questions before and after tuning.")
    context: ContextConfig = Field(default=ContextConfig(), description="What no measurement tells, for the advice.")
    costs: CostsConfig = Field(default=CostsConfig(), description="What costs are counted with.")
    seed: int = Field(default=7, ge=0, lt=2**32, description="Seeds the split, the order and the weights.")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_preference(cls, value: Any) -> Any:
        """Preference data are learned with dpo and have no few_shot baseline; simpo's beta is its paper's."""
        if not isinstance(value, Mapping) or value.get("kind") != "preference":
            return value
        made = {"baselines": ["majority", "prompt"], **value}
        training = made.get("training", {})
        if isinstance(training, Mapping):
            usual = {"beta": 2.0} if training.get("objective") == "simpo" else {}
            made["training"] = {"objective": "dpo", **usual, **training}
        return made

    @field_validator("baselines", mode="before")
    @classmethod
    def _hosted_by_name(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [name.removeprefix("hosted:") if isinstance(name, str) else name for name in value]

    @field_validator("training", mode="after")
    @classmethod
    def _usual_rate(cls, training: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        if "learning_rate" in training.model_fields_set:
            return training
        rate = default_learning_rate(training.method, info.data.get("model", ""), training.objective)
        return training if rate == training.learning_rate else training.model_copy(update={"learning_rate": rate})
