"""MODEL_CARD.md: what the adapter is, what it was measured at, and what was not tested.

The front matter is what model hubs read (Mitchell et al. 2019 for the idea of the card). Foreign text is escaped
for Markdown; the front matter is written by a YAML library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from burnish.evaluation.looks import level_words
from burnish.models.catalog import CATALOG
from burnish.reports import choices, summary
from burnish.reports.calibration import calibration_sentences
from burnish.reports.hosted import hosted_note, per_1000
from burnish.reports.power import power_sentence
from burnish.reports.prompts import prompts_sentences
from burnish.reports.retrieval import retrieval_sentences
from burnish.reports.rundata import RunData, read_run
from burnish.reports.sections import token_saving
from burnish.reports.slices import slices_sentence
from burnish.reports.text import (
    as_text,
    clean,
    count,
    cut_noted,
    metric_name,
    metric_phrase,
    moment,
    one_line,
    p_value,
    percent,
    plural,
    points,
    seconds,
)
from burnish.reports.training import mixture_rows, training_facts
from burnish.runs import write_text

# Catalogue models by the name that model hubs know them by.
HUB_IDS = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
TASK_TYPES = {"classification": "text-classification"}  # hubs have no type for the others: text-generation
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~$]|^[#+-]|^\d+(?=[.)]))")


def write_model_card(run_dir: Path, data: RunData | None = None) -> Path:
    """Write run_dir/MODEL_CARD.md from what the run folder holds (data: where that is read) and return its path.

    Works for a run that stopped early; the card says what is missing. Raises RunError when this is no run folder.
    """
    path = run_dir / "MODEL_CARD.md"
    write_text(path, render_model_card(data or read_run(run_dir)))
    return path


def render_model_card(data: RunData) -> str:
    """The card as text."""
    parts = (
        front_matter(data),
        *_heading(data),
        *_intended_use(data),
        *_evaluation(data),
        *_limitations(data),
        *_data(data),
        *_training(data),
        *(_how_to_use(data) if data.run.get("training") else ()),
        *_reproduce(data),
    )
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def front_matter(data: RunData) -> str:
    """YAML between two lines of dashes, as model hubs read it."""
    import yaml

    model = str(data.config.get("model") or "")
    known = CATALOG.get(model)
    hub_id = HUB_IDS.get(model, model)
    kind = str(data.config.get("kind") or "")
    fields: dict[str, Any] = {
        "base_model": hub_id,
        "library_name": "transformers" if _method(data) == "full" else "peft",
        "pipeline_tag": TASK_TYPES.get(kind, "text-generation"),
        "license": known.licence.lower() if known else None,
        "tags": ["burnish", _method(data), kind.replace("_", "-"), f"base_model:{_relation(data)}:{hub_id}"],
        "metrics": sorted(data.evaluations.get(data.candidate, {}).get("metrics", {})),
    }
    results = [
        {"type": name, "name": metric_name(name), "value": round(interval["value"], 4)}
        for name in fields["metrics"]
        if (interval := data.interval(data.candidate, name))
    ]
    if results:
        dataset = {"name": data.name, "type": "private", "split": "sealed test"}
        task = {"type": fields["pipeline_tag"]}
        fields["model-index"] = [
            {"name": data.name, "results": [{"task": task, "dataset": dataset, "metrics": results}]}
        ]
    shown = {key: _safe(value) for key, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)}---"


def _safe(value: Any) -> Any:
    """The same without characters that a YAML file cannot hold."""
    if isinstance(value, dict):
        return {key: _safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    return clean(value) if isinstance(value, str) else value


def escape(text: object, limit: int = 300) -> str:
    """Text on one line that Markdown and HTML leave as it is."""
    shown = one_line(str(text), limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A digit cannot be escaped: the full stop that would make a list of it is.
    return _SPECIAL.sub(lambda match: f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}", shown)


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{clean(text)}\n{fence}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bullets(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {escape(key)}: {escape(value)}" for key, value in facts)


_NOUNS = {
    "lora": "A LoRA adapter",
    "qlora": "A LoRA adapter for 4-bit weights",
    "dora": "A DoRA adapter",
    "ia3": "An IA3 adapter",
    "bottleneck": "Bottleneck adapters",
    "prefix_tuning": "A trained prefix",
    "prompt_tuning": "A trained prompt",
    "full": "A full fine-tune",
}


def _method(data: RunData) -> str:
    training = data.config.get("training")
    return str(training.get("method") or "lora") if isinstance(training, dict) else "lora"


def _relation(data: RunData) -> str:
    """The model hub's word for how a model relates to its base."""
    return "finetune" if _method(data) == "full" else "adapter"


def _heading(data: RunData) -> list[str]:
    model = escape(data.config.get("model") or "an unknown base model")
    kind = escape(str(data.config.get("kind") or "task").replace("_", " "))
    verdicts = {"ship": "**Verdict: ship.**", "hold": "**Verdict: hold. Do not ship this model as it is.**"}
    status = escape(data.run.get("status") or "unknown")
    verdict = verdicts.get(data.decision, f"**No verdict: the run is {status}.**")
    return [
        f"# {escape(data.name)}",
        f"{_NOUNS.get(_method(data), 'An adapter')} of {model}, fine-tuned for one {kind} task with Burnish."
        if data.run.get("training")
        else f"Systems compared for one {kind} task on {model} with Burnish. This run holds no trained adapter.",
        verdict,
        "\n".join(f"- {escape(reason, 600)}" for reason in data.verdict.get("reasons") or ()),
    ]


def _intended_use(data: RunData) -> list[str]:
    text = cut_noted(str(data.config.get("instruction") or ""), 2000)
    return [
        "## Intended use",
        "The model does what it was told in training, and nothing else was measured:",
        fenced(text, "text"),
        "Give it inputs of the same kind as those it was trained on, with the prompt stored in `adapter/`."
        if data.run.get("training")
        else "",
    ]


def _evaluation(data: RunData) -> list[str]:
    if not data.evaluations:
        return ["## Evaluation", "Nothing was measured: the run stopped before."]
    names = list(dict.fromkeys(name for record in data.evaluations.values() for name in record["metrics"]))
    rows = []
    for system, record in data.evaluations.items():
        name = f"**{escape(system)}**" if system == data.candidate else escape(system)
        cells = [_cell(data.interval(system, metric)) for metric in names]
        pair = data.pair(system)
        gap = f"{points(pair['difference'])} ({points(pair['low'])} to {points(pair['high'])})" if pair else ""
        p = p_value(pair["p_value"]).replace("<", "&lt;") if pair else ""
        cost = [seconds(record["seconds_per_example"]), count(record["prompt_tokens"])]
        rows.append([name, *cells, gap, p, *cost])
    gap_name = f"{escape(data.candidate or 'candidate')} minus this, points"
    headings = ["System", *(escape(metric_name(n)) for n in names), gap_name, "p", "Time an example", "Prompt tokens"]
    looks = data.verdict.get("looks")
    parts = [
        "## Evaluation",
        f"Every system answered the same {plural(data.test_size, 'sealed test example')}. In brackets: 95% intervals."
        f" Differences are paired and on {escape(metric_phrase(data.metric))}.",
        _table(headings, rows),
    ]
    judged_by = data.run.get("judged_by") or {}
    notes = [(name, choices.system_note(name, "preference", judged_by)) for name in data.evaluations if judged_by]
    if notes:
        parts.append(_bullets(notes))
    hosted = [
        (name, f"{note}{_paid(data, name)}") for name in data.evaluations if (note := hosted_note(data.config, name))
    ]
    if hosted:
        parts.append(_bullets(hosted))
    if looks:
        level = level_words(data.verdict.get("level", 0.95))
        parts.append(
            f"The sealed test has been looked at {plural(looks, 'time')}; differences are judged by "
            f"{level} intervals."
        )
    if tried := prompts_sentences(data.prompts):
        parts.append("\n".join(f"- {escape(sentence, 600)}" for sentence in tried))
    if told := power_sentence(data):
        parts.append(escape(told, 600))
    if data.slices and data.slices["slices"]:
        parts.append(escape(slices_sentence(data.slices), 900))
    parts += [
        " ".join(escape(sentence, 600) for sentence in calibration_sentences(one))
        for one in data.calibration
        if one["system"] == data.candidate
    ]
    if searched := retrieval_sentences(data.evaluations):
        parts.append("\n".join(f"- {escape(sentence, 600)}" for sentence in searched))
    if saving := token_saving(data):
        mine, other, saved = saving
        parts.append(
            f"Prompt tokens a request: {count(mine)} against {count(other)} for {escape(data.baseline)} "
            f"({abs(saved):.0%} {'fewer' if saved >= 0 else 'more'})."
        )
    if found := data.forgetting:
        parts.append(
            f"General ability: {_cell(found['before'])} of {plural(found['questions'], 'multiple-choice question')} "
            f"({escape(found['probe'])}) answered rightly before tuning, {_cell(found['after'])} after: "
            f"{points(found['difference'])} points ({points(found['low'])} to {points(found['high'])})."
        )
    return parts


def _paid(data: RunData, name: str) -> str:
    cost = per_1000(data.evaluations[name])
    return f", {cost} for 1,000 answers" if cost else ""


def _cell(interval: dict[str, Any]) -> str:
    if not interval:
        return "–"
    return f"{percent(interval['value'])} ({percent(interval['low'])} to {percent(interval['high'])})"


def _limitations(data: RunData) -> list[str]:
    untested = [
        "Inputs unlike the training examples: other topics, sources, languages or lengths.",
        "What it lost of the base model's general abilities"
        + (", beyond the multiple-choice questions above." if data.forgetting else "."),
        "Robustness against inputs made to mislead it, and other questions of safety.",
        "Fairness between groups of people, beyond what the tables of the report show.",
    ]
    preference = data.config.get("kind") == "preference"
    if preference:
        untested.insert(0, "The answers that it writes: measured was which of two given answers it prefers.")
    known = []
    tables = data.evaluations.get(data.candidate, {}).get("tables") or {}
    if confusion := summary.confusion_table(tables):
        known += [
            f"{escape(cell.target, 80)} is answered as {escape(cell.answer, 80)} in {cell.share:.0%} of its examples."
            for cell in summary.confused_pairs(confusion, limit=3)
        ]
    goal = data.interval(data.candidate)
    if goal:
        reached = f"{metric_name(data.metric)} on the sealed test is {percent(goal['value'])}"
        wrong = "in the other pairs it prefers what people rejected." if preference else "some answers are wrong."
        known.insert(0, f"{escape(reached)}: {wrong} Let people check those that matter.")
    if overfit := (data.run.get("training") or {}).get("overfit"):
        known.append(escape(overfit, 400))
    parts = ["## Limitations"]
    if known:
        parts += ["Known:", "\n".join(f"- {item}" for item in known)]
    return [*parts, "Not tested:", "\n".join(f"- {item}" for item in untested)]


def _data(data: RunData) -> list[str]:
    if not (data.data or data.split):
        return []
    stats = data.data.get("stats") or {}
    facts = [("Rows", count(data.data["rows"]))] if data.data else []
    for part, name in (("train", "Training"), ("validation", "Validation"), ("test", "Sealed test")):
        if isinstance(data.split.get(part), list):
            facts.append((name, plural(len(data.split[part]), "example")))
    if data.split.get("sealed_hash"):
        facts.append(("SHA-256 of the sealed test", str(data.split["sealed_hash"])))
    classes = summary.class_counts(stats)
    if classes:
        (most, high), (least, low) = classes[0], classes[-1]
        facts.append(("Classes", f"{len(classes)}, from {count(low)} ({least}) to {count(high)} examples ({most})"))
    facts += choices.pair_facts(stats) + summary.token_facts(stats)
    findings = [
        f"- {escape(finding['severity'])}: {escape(finding['message'], 400)}"
        for finding in data.data.get("findings") or ()
    ]
    return ["## Data", _bullets(facts), *(["The check found:", "\n".join(findings)] if findings else [])]


def _training(data: RunData) -> list[str]:
    settings = data.config.get("training")
    result = data.run.get("training") or {}
    if not (isinstance(settings, dict) or result):
        return []
    shown = [(key, as_text(value, 120)) for key, value in (settings or {}).items()]
    table = _table(["Setting", "Value"], [[f"`{escape_code(key)}`", escape(value)] for key, value in shown])
    mixture = [
        [escape(row["name"]), count(row["per_epoch"]), percent(row["share"]), escape(row["answers"])]
        for row in mixture_rows(data)
    ]
    mixed = _table(["Data set", "Examples an epoch", "Share", "Answers"], mixture) if mixture else ""
    return ["## Training", _bullets(training_facts(result)), mixed, table if shown else ""]


def escape_code(text: str) -> str:
    """Text inside a pair of backticks in a table."""
    return one_line(text, 120).replace("`", "'").replace("|", "\\|")


def _how_to_use(data: RunData) -> list[str]:
    model = str(data.config.get("model") or "BASE_MODEL")
    run_id = data.path.name
    if model in CATALOG or model.endswith(".gguf"):
        load = (
            "from burnish.models.load import load_model  # turns the GGUF weights into trainable ones\n\n"
            f"base, tokenizer = load_model({model!r})[:2]"
        )
    else:
        load = (
            "from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast\n\n"
            f"base = AutoModelForCausalLM.from_pretrained({model!r})\n"
            f"tokenizer = PreTrainedTokenizerFast.from_pretrained({model!r})  # as in training"
        )
    plain = f"""import json
from pathlib import Path

from peft import PeftModel
{load}
about = json.loads(Path("adapter/burnish.json").read_text(encoding="utf-8"))
model = PeftModel.from_pretrained(base, "adapter").eval()

messages = [{{"role": "system", "content": about["system_prompt"]}}, {{"role": "user", "content": "your input"}}]
prompt = tokenizer.apply_chat_template(
    messages, chat_template=about["chat_template"], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
tokens = model.generate(**prompt, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))"""
    return [
        "## How to use",
        "With the prompt, the template and the constraint it was measured with:",
        fenced(f'burnish predict {run_id} "your input"\nburnish predict {run_id} < inputs.txt', "bash"),
        "With transformers and peft alone, from the run folder. Nothing then holds the answers to the labels or the "
        "schema: some may not parse.",
        fenced(plain, "python"),
    ]


def _reproduce(data: RunData) -> list[str]:
    import yaml

    if not data.run:
        return []
    keys = ("seed", "git_commit", "data_fingerprint", "base_model_hash")
    facts = [("Run", data.path.name), ("Started", moment(data.run.get("created")))]
    facts += [
        (key.replace("_", " ").capitalize(), str(data.run[key])) for key in keys if data.run.get(key) is not None
    ]
    for name in ("versions", "machine"):
        if isinstance(data.run.get(name), dict):
            facts.append((name.capitalize(), ", ".join(f"{key} {value}" for key, value in data.run[name].items())))
    command = str(data.run.get("command") or "burnish run burnish.yaml")
    parts = ["## Reproduce", fenced(command, "bash"), _bullets(facts)]
    if data.config:
        config = yaml.safe_dump(data.config, sort_keys=False, allow_unicode=True, width=100)
        parts += ["The task file with every setting:", fenced(config.rstrip(), "yaml")]
    return parts
