"""`burnish init`: a commented task file that runs, with sample data to replace by one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

from burnish.config.samples import SAMPLES
from burnish.config.settings import METRICS
from burnish.errors import ConfigError
from burnish.records import KINDS, Kind

_HEAD = """\
# A Burnish task. Check it with `burnish check`, run it with `burnish run`.
# Every setting: `burnish schema`. Editors complete and check this file with that schema.

name: {name}
kind: {kind}

# What the model is told, before and after tuning.
instruction: {instruction}

# Labelled examples: JSON, JSONL, CSV, TSV or Parquet, also .gz and .zst; paths start from this file's folder.
{data}
"""

_TAIL = """
# A tuned model ships when it beats the best baseline by the margin (0.05 = 5 points), with its interval above
# zero, and reaches the target. Metrics of this kind: {metrics},
# or your own Python function as module:function.
goal:
  metric: {metric}
  # target: 0.9
  margin: 0.05

# A catalogue name (`burnish models`), a folder, a .gguf file, or a hub id.
model: smollm2-135m-instruct

training:
{objective}  method: lora
  lora_r: 16
  lora_alpha: 32
  learning_rate: {rate}
  num_epochs: {epochs}
  batch_size: 8

# Cheaper systems that the tuned model has to beat.
baselines: {baselines}

# Below 1: a share of the rows; 1 or more: a count. The test part is sealed until evaluation.
split:
  validation: 0.1
  test: 0.25
  # group: customer_id    # rows with the same value here stay in one part

seed: 7
"""

_INSTRUCTIONS: dict[Kind, str] = {
    "classification": "Say which team should answer the customer's message.",
    "extraction": "Read the order and write its fields as JSON.",
    "generation": "Rewrite the short note as one polite sentence to the team.",
    "tool_calling": "Turn the request into calls of the home's tools.",
    "preference": "Answer the customer's message politely, and say what happens next.",
}

_EXTRA: dict[Kind, str] = {
    "classification": "# The labels. Without them they are taken from the data.\n"
    "labels: [billing, delivery, returns, account]",
    "extraction": "# JSON Schema of the answer. It may also be written here, as a mapping.\nschema: schema.json",
    "generation": "# A regular expression that the whole answer should match; adds the metric pattern_match.\n"
    "pattern: '[A-Z].*\\.'",
    "tool_calling": "# The tools come with each example, as in OpenAI's format.",
    "preference": "# Each row has a prompt and two answers, of which people chose one.",
}

_RATE = "1.0e-3    # small models want more; 2.0e-4 suits models of 1 billion parameters and up"
# Preference losses move the weights faster than sft: a rate of a fifth and one pass are usual.
_PREFERENCE_RATE = "2.0e-4    # small models want more; 2.0e-5 suits models of 1 billion parameters and up"
_OBJECTIVE = """\
  objective: dpo           # or orpo, simpo, kto, and sft on the chosen answers
  beta: 0.1                # how firmly the tuned model is held to the untuned one
"""


def init_task(directory: str | Path, kind: str) -> list[Path]:
    """Write burnish.yaml and its data into `directory` and return the paths.

    Nothing is written when one of the files exists. Raises ConfigError.
    """
    if kind not in KINDS:
        raise ConfigError("there is no such kind", got=kind, where="--kind", fix=f"use one of {', '.join(KINDS)}")
    folder = Path(directory)
    if folder.exists() and not folder.is_dir():
        raise ConfigError("this is a file, not a folder", where=str(folder), fix="name a folder")
    files = _contents(folder, kind)
    for path in files:
        if path.exists() or path.is_symlink():
            raise ConfigError("the file exists and is not overwritten", where=str(path), fix="name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        fix = "check the folder's rights and the free space"
        raise ConfigError(f"cannot write: {error.strerror}", where=str(folder), fix=fix) from None
    return list(files)


def _contents(folder: Path, kind: Kind) -> dict[Path, str]:
    sample = SAMPLES[kind]()
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in sample.rows)
    head = _HEAD.format(
        name=_name(folder, kind), kind=kind, instruction=_INSTRUCTIONS[kind], data=f"data: {kind}.jsonl"
    )
    preference = kind == "preference"
    tail = _TAIL.format(
        metrics=", ".join(METRICS[kind]),
        metric=METRICS[kind][0],
        objective=_OBJECTIVE if preference else "",
        rate=_PREFERENCE_RATE if preference else _RATE,
        epochs=1 if preference else 3,
        baselines="[majority, prompt]" if preference else "[majority, prompt, few_shot]",
    )
    files = {folder / "burnish.yaml": f"{head}\n{_EXTRA[kind]}\n{tail}", folder / f"{kind}.jsonl": rows}
    if sample.schema is not None:
        files[folder / "schema.json"] = json.dumps(sample.schema, indent=2) + "\n"
    return files


def _name(folder: Path, kind: Kind) -> str:
    """The folder's name as a task name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[:64]
    return plain if plain and not plain.isdigit() else f"my-{kind.replace('_', '-')}"
