"""The records that travel between parts: frozen dataclasses without logic.

Words are those of docs/architecture.md: task, example, system, objective, adapter, sealed test, verdict, run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Any  # a JSON value: None, bool, int, float, str, list or dict of them
Role = Literal["system", "developer", "user", "assistant", "tool"]
Kind = Literal["classification", "extraction", "generation", "tool_calling", "preference"]
KINDS: tuple[Kind, ...] = ("classification", "extraction", "generation", "tool_calling", "preference")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call: `arguments` is the decoded JSON object."""

    name: str
    arguments: Mapping[str, Json]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `weight` (assistant only): 0 leaves the turn out of the loss, None means the default."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where an example came from. `line` is 1-based (the row number for Parquet)."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled row.

    id: hash of the content (input, target, tools), so that it survives reordering; copies share it.
    messages: the input, ending in a user or tool turn; a system turn comes first where the data has one.
    target: classification: the label; extraction: a JSON object; generation: a string;
        tool_calling: a list of {"name", "arguments"}; preference: {"chosen": text, "rejected": text} for a pair,
        {"completion": text, "desirable": bool} for a row with one answer.
    tools: OpenAI function schemas ({"type": "function", "function": {name, description, parameters}}).
    group: rows of one group never cross splits.
    weight: multiplies the example's loss.
    slices: columns that the task file names (`slices`) with the row's values, by which results are told apart.
    document: id of the document that holds the answer, where the data name one.
    """

    id: str
    messages: tuple[Message, ...]
    target: Json
    source: Source
    tools: tuple[Mapping[str, Json], ...] = ()
    group: str | None = None
    weight: float = 1.0
    slices: Mapping[str, str] = field(default_factory=dict, hash=False)
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """Constraint: the answer is exactly one of these strings."""

    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """Constraint: the answer is compact JSON that the schema accepts."""

    schema: Mapping[str, Json] = field(hash=False)


Constraint = Labels | JsonSchema


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a task read out of a system's text. `error` says why `value` is None."""

    value: Json
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What the generation engine returns for one request.

    logprobs: natural-log probability of each generated token under the constrained distribution.
    confidence: probability of the answer, normalised over what the constraint allows
        (for Labels: over the labels); None when nothing was generated.
    finish: "stop" at the end of turn or when the constraint is complete, "length" at the token limit.
    prompt_tokens counts the whole prompt; cached_tokens the part computed once for many requests.
    seconds: this request's share of the wall time.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    confidence: float | None
    finish: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: what is retrieved, shown in a prompt, and cited. place: in the file, "line 12"."""

    document: str
    title: str
    text: str
    file: str
    place: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """One system's answer to one example; a line of predictions/<system>.jsonl.

    score: per-example value of each metric, in [0, 1]. cost: USD paid for the answer, None where nothing is paid.
    sources: the passages in the prompt, in its order. ranking: documents of the first passages found, best first,
    also of those that were not shown.
    """

    example_id: str
    text: str
    parsed: Parsed
    confidence: float | None
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    score: Mapping[str, float] = field(default_factory=dict, hash=False)
    cost: float | None = None
    sources: tuple[Passage, ...] = ()
    ranking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval. method: "wilson", "bootstrap", …"""

    value: float
    low: float
    high: float
    method: str
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One system measured on one split.

    tables: extra views by name (per-class table, confusion matrix, per-field table), JSON-able.
    seconds_per_example: mean wall time in the batch setting; prompt_tokens, completion_tokens: means.
    cost_per_example: mean USD of an answer of a hosted model, None where nothing is paid or no price is known.
    """

    system: str
    split: str
    examples: int
    metrics: Mapping[str, Interval]
    seconds_per_example: float
    prompt_tokens: float
    completion_tokens: float
    tables: Mapping[str, Json] = field(default_factory=dict, hash=False)
    cost_per_example: float | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """Paired difference candidate minus baseline on the same examples.

    test: "mcnemar" (exact, for rates) or "permutation".
    wins: examples where the candidate alone is right (or better); losses: the other way.
    level: of the interval low … high; more than 95% from the second look at a sealed test on.
    """

    candidate: str
    baseline: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    test: str
    wins: int
    losses: int
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class PromptTrial:
    """One way of prompting a system, tried on validation examples; a line of prompts.jsonl.

    k: shots in the prompt, 0 for none; select: how they are chosen, None without. metric, value: the primary metric
    on `examples` validation examples. prompt_tokens, seconds: means of an example.
    """

    system: str
    instruction: str
    k: int
    select: str | None
    examples: int
    metric: str
    value: float
    prompt_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """One multiple-choice question answered by likelihood; a line of probe/before.jsonl.

    answer, chosen: 0-based places in choices. scores: of each choice, natural-log probability per character.
    """

    question_id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    chosen: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Forgetting:
    """General ability before and after tuning, on the same multiple-choice questions.

    probe: "built-in" or the file's name. chance: what guessing reaches. before, after: share answered rightly.
    difference: after minus before, with its paired interval (negative: forgotten); p_value: McNemar's, exact.
    gained, lost: questions that only the tuned, only the untuned model answers rightly.
    allowed: most that it may fall; None when no fall holds a model back.
    """

    probe: str
    questions: int
    chance: float
    before: Interval
    after: Interval
    difference: float
    low: float
    high: float
    p_value: float
    gained: int
    lost: int
    allowed: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate returns. reasons: one sentence each, with its number. advice: what to try next (hold).

    looks: which look at the sealed test this is. level: of the intervals that decide. error_spent: the chance that
    one of the looks so far ships a system that is no better than a baseline is at most this.
    """

    decision: Literal["ship", "hold"]
    candidate: str
    baseline: str
    metric: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    margin: float
    target: float | None
    looks: int
    level: float = 0.95
    error_spent: float = 0.025


Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the data check found. rows: the first few places; count: all of them.

    why: what harm it does; the check fills it in by kind (data/reasons.py) where it is empty.
    instead: texts, each with what is to be written in its place, where that is clear (spellings of labels).
    within: keys from the answer's top to the field whose ends a repair strips, none where that is the whole answer;
    None for findings on anything else. repeats: of copies, the earlier row that each of rows repeats.
    """

    kind: str
    severity: Severity
    count: int
    message: str
    advice: str
    rows: tuple[Source, ...] = ()
    why: str = ""
    instead: Mapping[str, str] = field(default_factory=dict, hash=False)
    within: tuple[str, ...] | None = None
    repeats: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class DataReport:
    """What `burnish check` found. stats: class counts, token lengths …, JSON-able."""

    rows: int
    findings: tuple[Finding, ...]
    stats: Mapping[str, Json] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Split:
    """Three lists of examples. sealed_hash: SHA-256 of the test part, fixed when the split is made."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    sealed_hash: str


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What training leaves. history: the lines of metrics.jsonl.

    overfit: a sentence when the gap between train and validation loss says so, else None.
    """

    adapter_dir: str
    steps: int
    best_step: int
    train_tokens: int
    labelled_tokens: int
    seconds: float
    peak_memory_mb: float
    trainable_parameters: int
    total_parameters: int
    stopped_early: bool
    overfit: str | None
    history: tuple[Mapping[str, Json], ...] = field(default_factory=tuple, hash=False)
