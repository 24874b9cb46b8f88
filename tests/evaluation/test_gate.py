from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from burnish.errors import RunError
from burnish.evaluation import statistics
from burnish.evaluation.evaluate import comparisons, evaluate
from burnish.evaluation.forgetting import Judgement
from burnish.evaluation.gate import best_baseline, decide
from burnish.evaluation.looks import level_of
from burnish.evaluation.power import examples_needed
from burnish.records import Evaluation, Example, Forgetting, Interval, Message, Paired, Parsed, Prediction, Source
from burnish.tasks.classification import Classification, classification_metrics

TASK = Classification("coin", "Say yes or no.", ("yes", "no"), classification_metrics(("yes", "no")))


def measured(name, value, *, examples=200, prompt_tokens=100.0, half=0.03):
    interval = Interval(value, max(0, value - half), min(1, value + half), "wilson")
    return Evaluation(name, "test", examples, {"accuracy": interval}, 0.1, prompt_tokens, 5.0)


def pair(difference, low, high, *, baseline="prompt", p_value=0.01, level=0.95):
    return Paired("tuned", baseline, "accuracy", difference, low, high, p_value, "mcnemar", 30, 10, level)


def gate(evaluations, pairs, *, margin=0.05, target=None, looks=1):
    return decide(evaluations, pairs, candidate="tuned", margin=margin, target=target, looks=looks)


def text(lines):
    return "\n".join(lines)


def test_ship_when_margin_interval_and_target_hold():
    verdict = gate([measured("tuned", 0.85), measured("prompt", 0.6)], [pair(0.25, 0.15, 0.35)], target=0.8)
    assert (verdict.decision, verdict.candidate, verdict.baseline, verdict.metric) == (
        "ship", "tuned", "prompt", "accuracy",
    )  # fmt: skip
    assert verdict.advice == ()
    assert len(verdict.reasons) == 3
    assert "tuned is 25 points above prompt, the best baseline (85.0% against 60.0% accuracy)" in verdict.reasons[0]
    assert "between +15.0 points and +35.0 points with 95% confidence: above zero" in verdict.reasons[1]
    assert "target of 80.0% is met" in verdict.reasons[2]
    assert (verdict.margin, verdict.target, verdict.looks) == (0.05, 0.8, 1)


def test_without_a_target_two_conditions_suffice():
    assert gate([measured("tuned", 0.2), measured("prompt", 0.1)], [pair(0.1, 0.02, 0.2)]).decision == "ship"


@pytest.mark.parametrize(("ours", "theirs"), [(0.85, 0.80), (0.3, 0.25), (0.7, 0.65)])
def test_the_margin_itself_is_enough_whatever_the_rounding(ours, theirs):
    verdict = gate(
        [measured("tuned", ours), measured("prompt", theirs)], [pair(ours - theirs, 0.01, 0.1)], target=ours
    )
    assert verdict.decision == "ship"


def test_hold_below_the_margin_names_the_saving():
    verdict = gate(
        [measured("tuned", 0.83, prompt_tokens=20), measured("prompt", 0.8, prompt_tokens=400)],
        [pair(0.03, 0.01, 0.05)],
    )
    assert verdict.decision == "hold"
    assert "less than the margin of 5 points" in verdict.reasons[0]
    assert "3 points is short of the margin" in text(verdict.advice)
    assert "95% fewer prompt tokens" in text(verdict.advice)


def test_hold_when_zero_is_inside_the_interval_says_how_many_examples_would_do():
    verdict = gate([measured("tuned", 0.85), measured("prompt", 0.78)], [pair(0.07, -0.02, 0.16, p_value=0.15)])
    assert verdict.decision == "hold"
    assert "it may be zero or worse" in verdict.reasons[1]
    # 200 ((1.96 + 0.84) (0.18 / 2 / 1.96) / 0.07)² = 675.3
    assert examples_needed(200, 0.07, -0.02, 0.16) == 676
    assert "about 680 test examples" in text(verdict.advice)
    assert "it has 200" in text(verdict.advice)


def test_the_number_of_examples_advised_is_always_more_than_there_are():
    verdict = gate([measured("tuned", 0.9), measured("prompt", 0.8)], [pair(0.1, 0.0, 0.11)])
    assert verdict.decision == "hold"
    assert "about 210 test examples" in text(verdict.advice)


def test_zero_itself_is_not_above_zero():
    assert gate([measured("tuned", 0.9), measured("prompt", 0.8)], [pair(0.1, 0.0, 0.2)]).decision == "hold"


def test_hold_below_the_target_alone_asks_for_more_data_and_epochs():
    verdict = gate([measured("tuned", 0.75), measured("prompt", 0.5)], [pair(0.25, 0.15, 0.35)], target=0.8)
    assert verdict.decision == "hold"
    assert "target of 80.0% is missed: accuracy is 75.0%" in verdict.reasons[2]
    assert "5 points short of the target" in text(verdict.advice)
    assert "training.num_epochs" in text(verdict.advice)
    assert "inside the 95% interval" not in text(verdict.advice)
    near = gate([measured("tuned", 0.79), measured("prompt", 0.5)], [pair(0.29, 0.15, 0.4)], target=0.8)
    assert "inside the 95% interval" in text(near.advice)


def test_hold_when_the_baseline_is_better_names_it():
    verdict = gate([measured("tuned", 0.5), measured("prompt", 0.82)], [pair(-0.32, -0.4, -0.2)], target=0.8)
    assert verdict.decision == "hold"
    assert "tuned is 32 points below prompt" in verdict.reasons[0]
    assert "below zero" in verdict.reasons[1]
    assert verdict.advice[0].startswith("Use prompt: it is 32 points better")
    assert "prompt reaches the target without training" in text(verdict.advice)


def test_nothing_beats_majority_is_its_own_case():
    verdict = gate([measured("tuned", 0.5), measured("majority", 0.5)], [pair(0.0, -0.02, 0.02, baseline="majority")])
    assert "level with majority" in verdict.reasons[0]
    assert "nothing beats majority, which does not look at what is asked" in verdict.advice[0]


def test_few_test_examples_are_said():
    verdict = gate(
        [measured("tuned", 0.5, examples=30), measured("prompt", 0.6, examples=30)], [pair(-0.1, -0.3, 0.1)]
    )
    assert "only 30 examples" in text(verdict.advice)


def test_the_best_baseline_has_the_highest_value():
    evaluations = [
        measured("majority", 0.3),
        measured("few_shot", 0.7),
        measured("prompt", 0.6),
        measured("tuned", 0.9),
    ]
    pairs = [
        pair(0.6, 0.5, 0.7, baseline="majority"),
        pair(0.2, 0.1, 0.3, baseline="few_shot"),
        pair(0.3, 0.2, 0.4),
    ]
    assert gate(evaluations, pairs).baseline == "few_shot"


def test_among_equal_baselines_the_least_certain_difference_counts():
    evaluations = [measured("few_shot", 0.7), measured("prompt", 0.7), measured("tuned", 0.8)]
    pairs = [pair(0.1, 0.05, 0.15, baseline="few_shot"), pair(0.1, -0.01, 0.21)]
    for order in (pairs, pairs[::-1]):
        verdict = gate(evaluations, order)
        assert (verdict.decision, verdict.baseline) == ("hold", "prompt")


def test_the_first_look_is_judged_by_a_95_percent_interval():
    verdict = gate([measured("tuned", 0.85), measured("prompt", 0.6)], [pair(0.25, 0.15, 0.35)])
    assert (verdict.level, verdict.error_spent) == (0.95, 0.025)
    assert "look" not in text(verdict.reasons)


def test_a_later_look_is_told_with_what_it_costs():
    evaluations = [measured("tuned", 0.85), measured("prompt", 0.6)]
    verdict = gate(evaluations, [pair(0.25, 0.11, 0.4, level=level_of(4))], looks=4)
    assert verdict.decision == "ship"
    assert verdict.level == pytest.approx(1 - 0.05 / 12)
    assert verdict.error_spent == pytest.approx(0.04375)
    assert "between +11.0 points and +40.0 points with 99.58% confidence" in verdict.reasons[1]
    assert "look 4 at this sealed test" in verdict.reasons[-1]
    assert "at most 4.4%" in verdict.reasons[-1]
    thin = gate(evaluations, [pair(0.25, -0.01, 0.5, level=level_of(20))], looks=20)
    assert thin.decision == "hold"
    assert "newly labelled rows" in text(thin.advice)


def test_a_later_look_cannot_be_judged_by_a_first_ones_interval():
    with pytest.raises(RunError, match="too narrow for look 2"):
        gate([measured("tuned", 0.85), measured("prompt", 0.6)], [pair(0.25, 0.15, 0.35)], looks=2)


def test_every_baseline_must_be_beaten_not_only_the_one_that_seems_best():
    evaluations = [measured("few_shot", 0.79), measured("prompt", 0.78), measured("tuned", 0.85)]
    pairs = [pair(0.06, 0.04, 0.08, baseline="few_shot"), pair(0.07, -0.01, 0.15)]
    verdict = gate(evaluations, pairs)
    assert (verdict.decision, verdict.baseline) == ("hold", "few_shot")
    assert "from prompt the true difference lies between -1.0 points and +15.0 points" in verdict.reasons[2]
    assert "a gain of 7 points" in verdict.advice[0]
    better = gate(evaluations, [pairs[0], pair(0.07, 0.01, 0.13)])
    assert better.decision == "ship"
    assert "as it is from every other baseline" in better.reasons[1]


def test_no_baseline_is_a_hold():
    verdict = gate([measured("tuned", 0.99)], [], target=0.5)
    assert verdict.decision == "hold"
    assert "no baseline was measured" in verdict.reasons[0]
    assert "majority, prompt, few_shot" in verdict.advice[0]


def test_what_was_not_measured_is_an_error():
    with pytest.raises(RunError, match="candidate was not evaluated"):
        gate([measured("prompt", 0.5)], [])
    with pytest.raises(RunError, match="baseline has no evaluation"):
        gate([measured("tuned", 0.5)], [pair(0.1, 0.0, 0.2)])
    other = Paired("tuned", "few_shot", "macro_f1", 0.1, 0.0, 0.2, 0.1, "permutation", 1, 0)
    evaluations = [measured(name, 0.5) for name in ("tuned", "prompt", "few_shot")]
    with pytest.raises(RunError, match="different metrics"):
        gate(evaluations, [pair(0.1, 0.0, 0.2), other])
    with pytest.raises(RunError, match="no value of the compared metric"):
        gate(evaluations, [other])


EXAMPLES = [
    Example(f"id{row}", (Message("user", str(row)),), "yes", Source("coin.csv", row + 1)) for row in range(400)
]
RIGHT = [Prediction(example.id, "yes", Parsed("yes"), 0.9, 10, 1, 0.1) for example in EXAMPLES]
WRONG = [Prediction(example.id, "no", Parsed("no"), 0.9, 10, 1, 0.1) for example in EXAMPLES]


@pytest.mark.parametrize(
    ("n", "accuracy", "shared", "group", "baselines"),
    [
        (20, 0.7, 0.0, 1, 1),
        (50, 0.9, 0.5, 1, 1),
        (100, 0.6, 0.9, 1, 3),
        (200, 0.97, 0.0, 1, 1),
        (400, 0.8, 0.5, 1, 1),
        (120, 0.7, 0.0, 6, 1),
    ],
)
def test_null_trial_a_candidate_that_is_no_better_ships_at_most_one_time_in_twenty(
    n, accuracy, shared, group, baselines
):
    """200 evaluations where all systems are equally good; the margin of 0 leaves the decision to the statistics.

    shared: the share of examples on which all systems give the same answer, which makes their results correlated.
    group: rows of one group stand or fall together.
    """
    rng = np.random.default_rng(n)
    examples = [replace(one, group=str(row // group) if group > 1 else None) for row, one in enumerate(EXAMPLES[:n])]
    units = n // group
    shipped = 0
    for seed in range(200):
        common, alike = rng.random(units) < accuracy, rng.random(units) < shared
        systems = {}
        for name in ("tuned", *(f"baseline{number}" for number in range(baselines))):
            hits = np.repeat(np.where(alike, common, rng.random(units) < accuracy), group)
            systems[name] = [RIGHT[row] if hit else WRONG[row] for row, hit in enumerate(hits)]
        evaluations = [fast_evaluation(name, predictions) for name, predictions in systems.items()]
        pairs = comparisons(TASK, examples, systems, candidate="tuned", seed=seed)
        verdict = decide(evaluations, pairs, candidate="tuned", margin=0.0, target=None, looks=1)
        shipped += verdict.decision == "ship"
    assert shipped <= 10


def fast_evaluation(name, predictions):
    """What `evaluate` says of accuracy, without the other metrics (see the next test)."""
    right = sum(prediction.text == "yes" for prediction in predictions)
    interval = statistics.wilson(right, len(predictions))
    return Evaluation(name, "test", len(predictions), {"accuracy": interval}, 0.1, 10.0, 1.0)


def test_the_null_trials_short_cut_is_what_evaluate_says():
    predictions = RIGHT[:30] + WRONG[30:40]
    full, _ = evaluate("x", TASK, EXAMPLES[:40], predictions, split="test", seed=0)
    assert fast_evaluation("x", predictions).metrics["accuracy"] == full.metrics["accuracy"]


def test_a_real_gain_ships():
    rng = np.random.default_rng(3)
    shipped = 0
    for seed in range(40):
        hits = {name: rng.random(200) < value for name, value in (("tuned", 0.85), ("prompt", 0.6))}
        systems = {
            name: [RIGHT[row] if hit else WRONG[row] for row, hit in enumerate(found)] for name, found in hits.items()
        }
        evaluations = [fast_evaluation(name, predictions) for name, predictions in systems.items()]
        pairs = comparisons(TASK, EXAMPLES[:200], systems, candidate="tuned", seed=seed)
        shipped += decide(evaluations, pairs, candidate="tuned", margin=0.05, target=0.7, looks=1).decision == "ship"
    assert shipped >= 38


def forgotten(difference, low, high, *, allowed=0.05):
    before = Interval(0.7, 0.62, 0.77, "wilson")
    after = Interval(0.7 + difference, 0.6 + difference, 0.8 + difference, "wilson")
    return Forgetting("built-in", 156, 0.25, before, after, difference, low, high, 0.001, 2, 20, allowed)


GOOD = ([measured("tuned", 0.85), measured("prompt", 0.6)], [pair(0.25, 0.15, 0.35)])


def gate_with(forgetting, evaluations=GOOD[0], pairs=GOOD[1]):
    return decide(
        evaluations, pairs, candidate="tuned", margin=0.05, target=None, looks=1, forgetting=forgetting
    )  # fmt: skip


def test_hold_when_too_much_is_forgotten_whatever_was_won():
    verdict = gate_with(forgotten(-0.15, -0.22, -0.08))
    assert verdict.decision == "hold"
    assert "Forgetting: 55.0% of 156 general questions" in verdict.reasons[-1]
    assert "more than the 5 points allowed" in verdict.reasons[-1]
    assert len(verdict.advice) == 1
    for way in ("replay: {share: 0.1}", "training.learning_rate", "training.num_epochs", "goal.forgetting: null"):
        assert way in verdict.advice[0]


@pytest.mark.parametrize(
    ("forgetting", "words"),
    [
        (forgotten(-0.06, -0.13, 0.01), "may be chance"),
        (forgotten(-0.02, -0.06, 0.02), "a larger fall is not ruled out"),
        (forgotten(0.01, -0.03, 0.05), "within the 5 points allowed"),
    ],
)
def test_ship_says_what_was_forgotten(forgetting, words):
    verdict = gate_with(forgetting)
    assert verdict.decision == "ship"
    assert words in verdict.reasons[-1]
    assert verdict.advice == ()


def test_no_probe_and_no_allowance_leave_the_decision_alone():
    assert gate_with(None) == gate(*GOOD)
    told = gate_with(forgotten(-0.4, -0.5, -0.3, allowed=None))
    assert (told.decision, told.reasons[:-1], told.advice) == ("ship", gate(*GOOD).reasons, ())
    assert "holds no model back for it" in told.reasons[-1]


def test_both_reasons_to_hold_give_both_advices():
    verdict = gate_with(forgotten(-0.15, -0.22, -0.08), [measured("tuned", 0.5), measured("prompt", 0.82)],
                        [pair(-0.32, -0.4, -0.2)])  # fmt: skip
    assert verdict.decision == "hold"
    assert verdict.advice[0].startswith("Use prompt")
    assert "To forget less" in verdict.advice[-1]


def test_without_a_baseline_forgetting_is_told_too():
    verdict = gate_with(forgotten(-0.15, -0.22, -0.08), [measured("tuned", 0.5)], [])
    assert len(verdict.reasons) == 2
    assert "Forgetting" in verdict.reasons[1]


@pytest.mark.parametrize(("blocks", "decision"), [(True, "hold"), (False, "ship")])
def test_a_slice_that_got_worse_is_told_and_holds_where_that_is_wanted(blocks, decision):
    judged = Judgement(blocks, "One slice got worse.", ("Add rows.",) if blocks else ())
    verdict = decide(*GOOD, candidate="tuned", margin=0.05, target=None, looks=1, slices=judged)
    assert verdict.decision == decision
    assert verdict.reasons == (*gate(*GOOD).reasons, "One slice got worse.")
    assert verdict.advice == judged.advice


def test_the_best_baseline_is_the_one_that_the_gate_takes():
    evaluations = [measured("few_shot", 0.7), measured("prompt", 0.7), measured("tuned", 0.8)]
    pairs = [pair(0.1, 0.05, 0.15, baseline="few_shot"), pair(0.1, -0.01, 0.21)]
    assert best_baseline(evaluations, pairs) == gate(evaluations, pairs).baseline == "prompt"
    assert best_baseline(evaluations, []) is None
