"""Advice: what a task needs, decided from measurements by pure functions. docs/advice.md has rules and contract.

The caller builds Facts (facts.py) and calls `recommend` (recommend.py); a learning curve is `fit(points)`
(learning_curve.py); costs are `cost_report(inputs, prices, today)` (cost_report.py); models are ranked by `rank`
(candidates.py). Nothing here trains, answers or looks anything up.

How Facts are built: one SystemFact for every system measured on the same validation examples, with the goal's
metric and its interval; Difference from the paired comparisons; DataFacts from the check; KnowledgeFact from asking
with and without the right document; CurveFact from LearningCurve.reach and forecast; the task file's context.
"""
