"""How near `burnish estimate` comes: peak memory of trainings of a few steps, each in a process of its own.

    python benchmarks/estimate_memory.py
    python benchmarks/estimate_memory.py --model qwen3-0.6b-folder --cases lora:32:16:96
    python benchmarks/estimate_memory.py --dtype bfloat16 --cases lora:0:8:96:64:checkpointing
    python benchmarks/estimate_memory.py --tasks benchmarks/tasks/icd10cm.yaml benchmarks/tasks/trec.yaml --steps 100

Rows are random tokens of one length, so that only sizes matter; with --tasks the training rows of tasks, whose
lengths differ, by the tasks' own settings. Peak memory is that of the process on a CPU (it does not depend on
what else the machine does), of PyTorch's allocator on a GPU. --time adds the processor time of a step, and the
operations in it as a share of those that plain matrix products make in that time; for one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from burnish.models.adapters import Method


class Case(NamedTuple):
    """rows of prefix + own tokens a step, in one pass; answer: labelled tokens of a row. varied: of its own tokens a
    row has between half of them and all."""

    method: Method
    prefix: int
    rows: int
    own: int
    answer: int
    checkpointing: bool = False
    varied: bool = False


CASES = (
    Case("lora", 0, 1, 64, 32),
    Case("lora", 0, 4, 96, 64),
    Case("lora", 32, 8, 64, 32),
    Case("lora", 0, 8, 128, 64),
    Case("lora", 0, 2, 512, 128),
    Case("lora", 0, 16, 128, 64),
    Case("lora", 0, 16, 128, 64, checkpointing=True),
    Case("lora", 512, 16, 96, 32),
    Case("ia3", 0, 8, 96, 64),
    Case("dora", 0, 4, 96, 64),
    Case("full", 0, 4, 96, 64),
    Case("full", 0, 8, 96, 64),
)


def main() -> None:
    """Measure every case and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--cases", nargs="*", help="METHOD:PREFIX:ROWS:OWN[:ANSWER][:checkpointing][:varied]")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--tasks", nargs="*", type=Path, help="tasks whose rows are trained on, in place of cases")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--time", action="store_true", help="processor time, too")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(_side(arguments)))
        return
    if arguments.tasks:
        _print_tasks(arguments)
        return
    cases = [_case(text) for text in arguments.cases] if arguments.cases else CASES
    more = (" step CPU s | share of matrix speed |", "---:|---:|") if arguments.time else ("", "")
    print(f"| method | prefix | rows | own tokens | pass tokens | estimated MB | measured MB | error |{more[0]}")
    print(f"|---|---:|---:|---:|---:|---:|---:|---:|{more[1]}")
    for case in cases:
        found = _in_a_process(arguments, json.dumps(case))
        name = case.method + (", checkpointing" if case.checkpointing else "") + (", varied" if case.varied else "")
        line = (
            f"| {name} | {case.prefix} | {case.rows} | {case.own} | {found['tokens']:,} | {found['estimated']:,.0f} "
            f"| {found['measured']:,.0f} | {100 * (found['estimated'] / found['measured'] - 1):+.1f}% |"
        )
        if arguments.time:
            line += f" {found['seconds']:.2f} | {found['share']:.2f} |"
        print(line, flush=True)


def _case(text: str) -> Case:
    method, *parts = text.split(":")
    prefix, rows, own, *given = (int(part) for part in parts if part.isdecimal())
    (answer,) = given or [max(1, own // 2)]
    return Case(cast("Method", method), prefix, rows, own, answer, "checkpointing" in parts, "varied" in parts)


def _print_tasks(arguments: argparse.Namespace) -> None:
    print("| task | steps | tokens of the largest pass | estimated MB | measured MB | error |")
    print("|---|---:|---:|---:|---:|---:|")
    for task in arguments.tasks:
        found = _in_a_process(arguments, str(task))
        print(
            f"| {task.stem} | {arguments.steps} | {found['tokens']:,} | {found['estimated']:,.0f} "
            f"| {found['measured']:,.0f} | {100 * (found['estimated'] / found['measured'] - 1):+.1f}% |",
            flush=True,
        )


def _in_a_process(arguments: argparse.Namespace, side: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--model", arguments.model, "--rank", str(arguments.rank)]
    command += ["--dtype", arguments.dtype, "--steps", str(arguments.steps), "--side", side]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{side} failed (status {done.returncode}):\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _side(arguments: argparse.Namespace) -> dict[str, Any]:
    """What one process measures: a case of random rows, or a task."""
    import burnish

    base = burnish.load_model(arguments.model, dtype=arguments.dtype)
    if arguments.side.startswith("["):
        case = Case(*json.loads(arguments.side))
        settings = burnish.TrainingConfig(
            method=case.method,
            lora_r=arguments.rank,
            lora_alpha=2 * arguments.rank,
            learning_rate=1e-4,
            batch_size=case.rows,
            num_epochs=1,
            tokens_per_batch=2**16,
            gradient_checkpointing=case.checkpointing,
        )
        rows = _random_rows(case, arguments.steps, int(base.model.config.vocab_size))
    else:
        task = burnish.load_task(Path(arguments.side))
        settings, rows = task.config.training, _rows_of(task, base.tokenizer)
    few = {"max_steps": arguments.steps, "evals_per_epoch": 1e-6, "checkpoint_steps": 10**6}
    return measure(arguments.model, base, rows, settings.model_copy(update=few))


def _random_rows(case: Case, steps: int, vocabulary: int) -> list[Any]:
    """Rows for so many steps."""
    import burnish
    from burnish.training.encode import tail_item

    rng = random.Random(0)
    prefix = [rng.randrange(vocabulary) for _ in range(case.prefix)]
    lengths = [rng.randint(case.own // 2, case.own) if case.varied else case.own for _ in range(steps * case.rows)]
    return [
        tail_item(
            prefix + [rng.randrange(vocabulary) for _ in range(own)],
            case.prefix + own - min(case.answer, own - 1),
            1.0,
            burnish.Source("row", number),
        )
        for number, own in enumerate(lengths)
    ]


def _rows_of(task: Any, tokenizer: Any) -> list[Any]:
    """A task's training rows."""
    import burnish
    from burnish.prepare import prepare

    training, prepared = task.config.training, prepare(task)
    full, chat = training.prompt == "full", burnish.Chat(tokenizer)
    encoding = burnish.encode(prepared.split.train, prepared.task, chat, full=full, max_length=training.max_length)
    return list(encoding.rows)


def measure(model_name: str, base: Any, rows: list[Any], settings: Any) -> dict[str, Any]:
    """Train a loaded model a few steps; estimated and measured peak in MB (of 2^20), processor seconds of a step."""
    import burnish
    from burnish.training.devices import measured_flops, this_machine
    from burnish.training.estimate import estimate, setup_of
    from burnish.training.journal import peak_memory_mb
    from burnish.training.shapes import model_shape
    from burnish.training.work import layout_on, work_of_items

    model = burnish.attach_adapter(
        base.model,
        method=settings.method,
        r=settings.lora_r,
        alpha=settings.lora_alpha,
        target_modules=settings.lora_target_modules,
        dropout=settings.lora_dropout,
        seed=0,
    )
    marks = [time.process_time()]

    class Clock(burnish.Silent):
        def advance(self, *_: Any, **__: Any) -> None:
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        burnish.train(
            model, rows, [], settings=settings, seed=0, device=base.device, folder=Path(folder),
            metric=None, metric_name="", progress=Clock(),
        )  # fmt: skip
    measured = peak_memory_mb(base.device)
    held: Any = str(base.dtype).removeprefix("torch.")
    device = this_machine()
    speed = measured_flops(base.device, held, clock=time.process_time)
    shape = model_shape(model_name)
    setup = replace(setup_of(settings), dtype=held)
    work = work_of_items(
        rows,
        batch_size=settings.batch_size,
        tokens_per_batch=settings.tokens_per_batch,
        num_epochs=settings.num_epochs,
        max_steps=settings.max_steps,
        how=layout_on(device, shape),
    )
    found = estimate(shape, setup, work, device)
    seconds = marks[-1] - marks[-2]
    return {
        "tokens": work.tokens,
        "estimated": found.memory.total / 2**20,
        "measured": measured,
        "memory": found.memory._asdict(),
        "seconds": seconds,
        "share": found.flops / work.steps / seconds / speed,
    }


if __name__ == "__main__":
    main()
