"""What pydantic cannot see: settings that do not fit together."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from burnish.config.base import Report
from burnish.config.hosted_check import check_hosted
from burnish.config.search import METHODS_OF, check_search
from burnish.config.settings import METRICS, TaskConfig
from burnish.config.training import TrainingConfig
from burnish.config.words import nearest
from burnish.config.yaml_tree import dotted
from burnish.records import KINDS

SHARDED_METHODS = ("lora", "dora", "ia3", "full")


def check_settings(config: TaskConfig, report: Report, notices: list[str], *, kind_known: bool = True) -> None:
    """Report every pair of settings that does not fit together. kind_known: False leaves out what hangs on kind."""
    if kind_known:
        _check_kind_keys(config, report)
        _check_metric(config, report)
        _check_objective(config, report)
    _check_labels(config, report)
    _check_pattern(config, report)
    _check_split(config, report, notices)
    _check_method(config, report)
    _check_optimizer(config, report)
    _check_mixture(config, report, notices)
    _check_prompting(config, report)
    check_hosted(config, report)
    _check_retrieval(config, report, notices)
    _check_rest(config, report)
    check_search(config.tune.search, config.training.method, report)
    for name in set(config.tune.search) & set(_OWN):
        if config.training.objective not in _OWN[name]:
            what = f"the objective {config.training.objective} has no {name}"
            report(("tune", "search", name), what, None, f"delete it, or set objective: {_OWN[name][0]}")


def _check_kind_keys(config: TaskConfig, report: Report) -> None:
    own = (
        (("labels",), config.labels, "classification"),
        (("schema",), config.json_schema, "extraction"),
        (("pattern",), config.pattern, "generation"),
        (("data", "tools"), config.data.tools, "tool_calling"),
    )
    for key, value, kind in own:
        if value is not None and config.kind != kind:
            what = f"{dotted(key)} is for kind {kind}, and the kind here is {config.kind}"
            report(key, what, None, f"delete it, or set kind: {kind}")
    if config.kind == "extraction" and config.json_schema is None:
        report(
            ("schema",),
            "kind extraction needs a schema",
            None,
            "add `schema: schema.json`, a JSON Schema of the answer",
        )
    data_format = config.data.format
    if data_format in KINDS and data_format != config.kind:
        what = f"format {data_format} is for kind {data_format}, and the kind here is {config.kind}"
        report(("data", "format"), what, None, "use format: auto")


# Settings of one objective, or of some.
_OWN: dict[str, tuple[str, ...]] = {
    "beta": ("dpo", "orpo", "kto", "simpo"),
    "label_smoothing": ("dpo",),
    "dpo_loss": ("dpo",),
    "simpo_gamma": ("simpo",),
    "kto_desirable_weight": ("kto",),
    "kto_undesirable_weight": ("kto",),
}


def _check_objective(config: TaskConfig, report: Report) -> None:
    training = config.training
    if training.objective != "sft" and config.kind != "preference":
        what = f"{training.objective} learns from preferences, and the kind here is {config.kind}"
        report(("training", "objective"), what, None, "delete it, or set kind: preference")
        return
    for name, objectives in _OWN.items():
        value = getattr(training, name)
        if training.objective not in objectives and value != TrainingConfig.model_fields[name].default:
            what = (
                f"{name} is for the objective {' or '.join(objectives)}, the objective here is {training.objective}"
            )
            report(("training", name), what, value, f"delete it, or set objective: {objectives[0]}")
    if training.objective == "dpo" and training.dpo_loss == "ipo" and training.label_smoothing:
        what = "label_smoothing belongs to the sigmoid loss: ipo has none"
        report(("training", "label_smoothing"), what, training.label_smoothing, "delete one of the two")
    if training.objective == "kto" and not training.kto_desirable_weight + training.kto_undesirable_weight:
        what = "both weights are 0: nothing would be learned"
        report(("training", "kto_desirable_weight"), what, 0, "give one of the two a weight above 0")
    if config.kind != "classification" and "embedding_probe" in config.baselines:
        what = f"embedding_probe answers with labels, and the kind here is {config.kind}"
        report(("baselines", config.baselines.index("embedding_probe")), what, None, "delete it")
    if config.kind == "preference" and "few_shot" in config.baselines:
        what = "few_shot is not for kind preference: a pair of answers is compared, none is written"
        report(("baselines", config.baselines.index("few_shot")), what, None, "delete it")


def _check_labels(config: TaskConfig, report: Report) -> None:
    if config.labels is None:
        return
    seen: dict[str, int] = {}
    for index, label in enumerate(config.labels):
        if not label.strip():
            report(("labels", index), "a label must not be empty", label, "name the label, or delete the line")
        elif label != label.strip() or "\n" in label:
            report(
                ("labels", index),
                "a label must not begin or end with white space or hold a line break",
                label,
                f"write {label.strip()!r}",
            )
        elif label in seen:
            report(("labels", index), "the label appears twice", label, "keep one")
        seen.setdefault(label, index)
    if len(config.labels) < 2:
        report(
            ("labels",),
            "a choice needs at least two labels",
            config.labels,
            "list every label, or delete labels: to take them from the data",
        )


def _check_pattern(config: TaskConfig, report: Report) -> None:
    if config.pattern is None:
        return
    try:
        re.compile(config.pattern)
    except (re.error, OverflowError, RecursionError) as error:
        report(
            ("pattern",),
            f"not a regular expression: {error}",
            config.pattern,
            "mend the expression (Python's re syntax)",
        )


def _check_metric(config: TaskConfig, report: Report) -> None:
    metric = config.goal.metric
    known = METRICS[config.kind]
    key = ("goal", "metric")
    if metric is None:
        return
    if ":" in metric:
        module, _, function = metric.partition(":")
        if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            report(key, "a metric of your own is module:function", metric, "for example my_metrics:close_enough")
        return
    if metric not in known:
        homes = [kind for kind, names in METRICS.items() if metric in names]
        near = nearest(metric, known)
        meant = f"did you mean {near}? " if near and not homes else ""
        other = f"{metric} is for kind {' and '.join(homes)}; " if homes else ""
        what = f"kind {config.kind} has no such metric"
        report(key, what, metric, f"{meant}{other}it has {', '.join(known)}, or your own as module:function")
    elif metric == "pattern_match" and config.pattern is None:
        report(key, "pattern_match needs a pattern", None, "add `pattern:` with a regular expression")


def _check_split(config: TaskConfig, report: Report, notices: list[str]) -> None:
    for part in ("validation", "test"):
        value = getattr(config.split, part)
        if value > 1 and value != int(value):
            report(
                ("split", part),
                "a number above 1 is a count of rows and must be whole",
                value,
                f"write {value:.0f}, or a share below 1",
            )
        if getattr(config.data, part) and part in config.split.model_fields_set and value:
            notices.append(f"split.{part} is not used: data.{part} names files")
    shares = [
        getattr(config.split, part)
        for part in ("validation", "test")
        if getattr(config.split, part) < 1 and not getattr(config.data, part)
    ]
    if sum(shares) >= 1:
        report(
            ("split",),
            f"validation and test take {sum(shares):.0%} and leave nothing to train on",
            None,
            "lower the shares",
        )
    if config.split.test == 0 and not config.data.test:
        report(
            ("split", "test"),
            "a verdict needs a sealed test",
            0,
            "give a share such as 0.15, or files under data.test",
        )
    if config.split.validation == 0 and not config.data.validation:
        notices.append("split.validation is 0: the last checkpoint is kept, not the best")
    used: dict[Any, str] = {}
    for part in ("train", "validation", "test"):
        for index, file in enumerate(getattr(config.data, part)):
            if file in used:
                report(
                    ("data", part, index),
                    f"the file is in data.{used[file]} already",
                    str(file),
                    "a row may be in one part only",
                )
            used[file] = part
    for index, source in enumerate(config.mixture):
        for place, file in enumerate(source.file):
            if file in used:
                what = f"the file is in data.{used[file]} already"
                report(
                    ("mixture", index, "file", place), what, str(file), "its rows are trained on as the task's own"
                )


def _check_mixture(config: TaskConfig, report: Report, notices: list[str]) -> None:
    for index, source in enumerate(config.mixture):
        if source.weight is not None and source.share is not None:
            what = "a data set has a weight or a share, not both"
            report(("mixture", index, "share"), what, source.share, "delete one of the two")
    total = sum(source.share or 0 for source in config.mixture) + config.replay.share
    if total >= 1:
        what = f"the shares of mixture and replay add up to {total:g} and leave no room for the task"
        report(("mixture",) if config.mixture else ("replay", "share"), what, None, "lower the shares")
    if (config.mixture or config.replay.share) and config.training.objective != "sft":
        what = "mixture and replay are learned from single answers, and the objective learns from others"
        fix = "use training.objective: sft, or delete mixture and replay"
        report(("training", "objective"), what, config.training.objective, fix)
    if not config.replay.share and (config.replay.file or config.replay.answers != "auto"):
        notices.append("replay is not used: replay.share is 0")
    if not config.probe.enabled and isinstance(config.goal.forgetting, float):
        notices.append("goal.forgetting is not checked: the probe is off")


def _check_prompting(config: TaskConfig, report: Report) -> None:
    few = config.few_shot
    several = {
        ("prompt", "instructions"): bool(config.prompt.instructions),
        ("few_shot", "k"): few.k == "auto" or (isinstance(few.k, list) and len(few.k) > 1),
        ("few_shot", "select"): few.select == "auto" or (isinstance(few.select, list) and len(few.select) > 1),
    }
    for key, tried in several.items():
        if tried and config.split.validation == 0 and not config.data.validation:
            what = f"the best of {dotted(key)} is chosen on validation examples, and split.validation is 0"
            report(key, what, None, "give split.validation a share such as 0.1, or one value alone")
    for index, instruction in enumerate(config.prompt.instructions):
        if not instruction.strip():
            what = "must not be empty"
            report(("prompt", "instructions", index), what, instruction, "say what the model is to do, or delete it")
    if config.kind == "preference" and config.prompt.instructions:
        what = "instructions are not tried for kind preference: a pair of answers is compared, none is written"
        report(("prompt", "instructions"), what, None, "delete it")


def _check_retrieval(config: TaskConfig, report: Report, notices: list[str]) -> None:
    users: list[tuple[str | int, ...]] = [
        ("baselines", place) for place, name in enumerate(config.baselines) if name == "rag"
    ]
    if config.training.context == "retrieved":
        users.append(("training", "context"))
    for key in users:
        if config.kind == "preference":
            what = "retrieval is not for kind preference: a pair of answers is compared, none is written"
            report(key, what, None, "delete it")
        elif not config.retrieval.documents:
            fix = "add `retrieval: {documents: FOLDER}`"
            report(key, "there are no documents to retrieve from", None, fix)
    if config.retrieval.documents and not users:
        notices.append("retrieval is not used: neither baselines have rag nor is training.context: retrieved")
    if config.retrieval.overlap_words * 2 > config.retrieval.passage_words:
        what = "neighbouring passages would share more than half of their words"
        fix = f"use at most {config.retrieval.passage_words // 2}, or longer passages"
        report(("retrieval", "overlap_words"), what, config.retrieval.overlap_words, fix)


def _check_method(config: TaskConfig, report: Report) -> None:
    training = config.training
    if training.gradient_checkpointing and training.method in ("prefix_tuning", "prompt_tuning"):
        # transformers drops the cache of keys and values there, and the virtual tokens with it, with a log line.
        report(
            ("training", "gradient_checkpointing"),
            f"does not go with {training.method}: the virtual tokens would be dropped",
            True,
            "set it to false, and lower training.tokens_per_batch when memory is short",
        )


def _check_optimizer(config: TaskConfig, report: Report) -> None:
    training = config.training
    two_matrices = METHODS_OF["loraplus_lr_ratio"]
    if training.loraplus_lr_ratio is not None and training.method not in two_matrices:
        what = f"method {training.method} has no B matrices, which LoRA+ gives a rate of their own"
        fix = f"delete it, or set method: {two_matrices[0]}"
        report(("training", "loraplus_lr_ratio"), what, training.loraplus_lr_ratio, fix)
    if training.optimizer == "adamw_8bit" and training.sharded:
        what = "8-bit moments are not cut over processes"
        fix = "use training.optimizer: adamw, or training.sharding: none"
        report(("training", "optimizer"), what, training.optimizer, fix)


def _check_rest(config: TaskConfig, report: Report) -> None:
    training = config.training
    if training.sharded and training.method not in SHARDED_METHODS:
        what = f"weights are not cut over processes with method {training.method}"
        fix = f"use training.sharding: none, or training.method: {', '.join(SHARDED_METHODS)}"
        report(("training", "sharding"), what, training.sharding, fix)
    for baseline, count in Counter(config.baselines).items():
        if count > 1:
            last = len(config.baselines) - 1 - config.baselines[::-1].index(baseline)
            report(("baselines", last), "the baseline appears twice", baseline, "keep one")
    for index, tracker in enumerate(config.trackers):
        if tracker in config.trackers[:index]:
            report(("trackers", index), "the tracker appears twice", tracker, "keep one")
    if not config.instruction.strip():
        report(("instruction",), "must not be empty", config.instruction, "say in a sentence what the model is to do")
