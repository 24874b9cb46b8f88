"""What the advisor decides from: measured facts, and the recommendation it gives. Records without logic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from burnish.config.settings import ContextConfig

SystemKind = Literal["majority", "prompt", "few_shot", "rag", "probe", "tuned", "rag_tuned"]
Choice = Literal["keep_prompt", "few_shot", "rag", "probe", "fine_tune", "rag_and_fine_tune", "more_data", "fix_data"]
CHOICE_OF: dict[SystemKind, Choice] = {
    "prompt": "keep_prompt",
    "few_shot": "few_shot",
    "rag": "rag",
    "probe": "probe",
    "tuned": "fine_tune",
    "rag_tuned": "rag_and_fine_tune",
}


@dataclass(frozen=True, slots=True)
class SystemFact:
    """A system's metric in [0, 1] with its interval, and what it takes.

    name: as in evaluation.json. forecast: the value is a learning curve's, not measured. hosted: inputs leave the own
    machines. cost_per_1000: USD of 1,000 requests; first_cost: USD before the first request (training, labelling
    beyond the rows there are); None: not known. seconds, prompt_tokens: of one example, means.
    """

    name: str
    kind: SystemKind
    value: float
    low: float
    high: float
    cost_per_1000: float | None = None
    first_cost: float | None = None
    seconds: float | None = None
    prompt_tokens: float | None = None
    hosted: bool = False
    forecast: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference, better minus worse or the other way round, on the same examples, with its interval."""

    candidate: str
    baseline: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the check found. rows: to train on; classes: labels, None where there are none; smallest_class: rows of
    the rarest. errors: findings of severity error; wrong: the share of labels that is wrong at least; conflicting,
    duplicates: shares of the rows."""

    rows: int
    classes: int | None = None
    smallest_class: int | None = None
    errors: int = 0
    wrong: float = 0.0
    conflicting: float = 0.0
    duplicates: float = 0.0


@dataclass(frozen=True, slots=True)
class KnowledgeFact:
    """Does the right document in the prompt repair the errors? The same model on the same questions, asked without a
    document and with the one that holds the answer. difference: with minus without, paired, with its interval."""

    without: float
    with_document: float
    difference: float
    low: float
    high: float
    examples: int


@dataclass(frozen=True, slots=True)
class CurveFact:
    """What a learning curve says of the target: learning_curve.Reach, and the metric at its horizon."""

    rows: int
    target: float
    answer: Literal["yes", "no", "unclear"]
    probability: float
    rows_needed: int | None
    cost: float | None
    value_now: float
    value_later: float
    low_later: float
    high_later: float
    rows_later: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a task. metric: the goal's; target, margin: of the goal (None: no target).

    differences: paired, between systems; where one is missing, the two intervals are compared as if independent.
    """

    metric: str
    systems: tuple[SystemFact, ...]
    data: DataFacts
    margin: float = 0.05
    target: float | None = None
    differences: tuple[Difference, ...] = ()
    knowledge: KnowledgeFact | None = None
    curve: CurveFact | None = None
    context: ContextConfig = field(default_factory=ContextConfig)


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence and what is behind it. kind: "measured", "context" (an answer of the task file) or "rule"; source:
    which measurement, which setting, or where the rule is from."""

    text: str
    kind: Literal["measured", "context", "rule"]
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """What would change the recommendation: `what` going from `now` to `then` makes it `choice`. value: the threshold
    as a number, None for a yes or no."""

    what: str
    now: str
    then: str
    choice: Choice
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One choice. system: the one that stands behind it, None where none was measured. tested: whether the choice
    itself was measured. left_out: systems that the context rules out, with the reason."""

    choice: Choice
    system: str | None
    tested: bool
    reasons: tuple[Reason, ...]
    runner_up: Choice | None
    runner_up_reason: Reason | None
    changes: tuple[Change, ...]
    left_out: tuple[Reason, ...] = ()
