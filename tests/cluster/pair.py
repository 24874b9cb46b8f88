"""Scenarios of training in one or two processes, run apart from pytest: `python pair.py FOLDER`.

The interpreter loads torch once and forks: first a process alone, then two that form a group. Each scenario leaves
FOLDER/<one|two>/<name>.json and .safetensors, written by the first process.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from burnish.cluster.meet import meeting
from burnish.cluster.place import RENDEZVOUS, Place
from burnish.errors import TrainingError
from burnish.models.adapters import adapter_state
from burnish.models.layout import Labelled, Span
from burnish.records import Source
from burnish.runs import read_jsonl
from burnish.training import step
from burnish.training.objectives import sft
from burnish.training.objectives.base import Item
from burnish.training.objectives.dpo import dpo
from burnish.training.objectives.kto import kto
from burnish.training.parallel import Group
from helpers_training import rows, run_training, settings
from tiny import tiny_loaded

# A low rate: AdamW divides by the gradient's size, which makes much of rounding where that is small.
GENTLE: dict[str, Any] = {"learning_rate": 1e-3}


def pairs(count: int = 24) -> list[Item]:
    """Items of two sequences that share a prompt."""
    _, chat = tiny_loaded()
    singles = [row.sequences[0] for row in rows(chat, count)]
    others = [row.sequences[0] for row in rows(chat, count + 1)][1:]
    made = []
    for i, (first, other) in enumerate(zip(singles, others, strict=True)):
        prompt = first.tokens[: first.spans[0].first]
        tail = other.tokens[other.spans[0].first :]
        second = Labelled((*prompt, *tail), (Span(len(prompt), len(prompt) + len(tail)),))
        made.append(Item((first, second), 1.0 + i % 2, Source("rows.jsonl", i + 1), desirable=i % 3 > 0))
    return made


def trained(folder: Path, group: Group, **options: Any) -> tuple[Any, dict[str, Any]]:
    model, result = run_training(folder, group=group, **options)
    names = ("loss", "validation_loss", "reward_accuracy", "kl")
    kept = [{name: line[name] for name in names if name in line} for line in result.history]
    return model, {"history": kept, "best": result.best_step}


def as_one(folder: Path, group: Group) -> Any:
    return trained(folder, group, config=settings(**GENTLE))


def with_dpo(folder: Path, group: Group) -> Any:
    """Steps of 19 and of 1: one process has nothing in every second step."""
    return trained(folder, group, config=settings(**GENTLE, batch_size=19), objective=dpo(), data=pairs())


def with_kto(folder: Path, group: Group) -> Any:
    return trained(folder, group, config=settings(**GENTLE), objective=kto(), data=pairs())


def sharded(folder: Path, group: Group) -> Any:
    """Cut into parts over two processes; steps of 3 leave one process with fewer passes than the other."""
    apart = group._replace(sharded=group.size > 1)
    config = settings(**GENTLE, batch_size=3, tokens_per_batch=64, max_steps=8)
    return interrupted(folder, apart, config, cut=5)


def sharded_full(folder: Path, group: Group) -> Any:
    apart = group._replace(sharded=group.size > 1)
    return trained(
        folder, apart, config=settings(**GENTLE, method="full", max_steps=4), objective=kto(), data=pairs()
    )


BFLOAT16: dict[str, Any] = {"method": "full", "dtype": "bfloat16", "learning_rate": 1e-3, "tokens_per_batch": 64}


def full_bfloat16(folder: Path, group: Group) -> Any:
    """Steps of 19 and of 1, as above."""
    return trained(folder, group, config=settings(**BFLOAT16, num_epochs=4, batch_size=19))


def full_bfloat16_interrupted(folder: Path, group: Group) -> Any:
    return interrupted(folder, group, settings(**BFLOAT16, num_epochs=4, batch_size=19), cut=5)


def sharded_bfloat16(folder: Path, group: Group) -> Any:
    return trained(folder, group._replace(sharded=group.size > 1), config=settings(**BFLOAT16, max_steps=8))


def sharded_bfloat16_interrupted(folder: Path, group: Group) -> Any:
    apart = group._replace(sharded=group.size > 1)
    return interrupted(folder, apart, settings(**BFLOAT16, max_steps=8), cut=5)


def sharded_float16(folder: Path, group: Group) -> Any:
    """With a scaled loss whose first factor may not fit."""
    config = settings(**BFLOAT16 | {"dtype": "float16"}, max_steps=8)
    return trained(folder, group._replace(sharded=group.size > 1), config=config)


def gradients_sharded(folder: Path, group: Group) -> Any:
    """Several passes a step; cut: of the weights before a step's passes and after them, whether any is cut."""
    apart = group._replace(sharded=group.size > 1)
    config = settings(
        **GENTLE, method="full", sharding="shard_grad_op", batch_size=3, tokens_per_batch=64, max_steps=8
    )
    real, cut = step.Stepper._own_share, set()

    def watched(self: Any, *rest: Any, backward: bool, **more: Any) -> Any:
        before = any(isinstance(weight, DTensor) for weight in self.model.parameters())
        found = real(self, *rest, backward=backward, **more)
        if backward:
            cut.add((before, any(isinstance(weight, DTensor) for weight in self.model.parameters())))
        return found

    step.Stepper._own_share = watched
    try:
        model, found = interrupted(folder, apart, config, cut=5)
    finally:
        step.Stepper._own_share = real
    return model, {**found, "cut": sorted(cut)}


class Cut(Exception):  # noqa: N818
    pass


def interrupted(folder: Path, group: Group, config: Any, cut: int) -> Any:
    """Stopped in all processes at one step, and taken up again from the checkpoint before."""
    real = step.Stepper.step

    def cutting(self: Any, number: int, *rest: Any) -> Any:
        if number == cut:
            raise Cut
        return real(self, number, *rest)

    step.Stepper.step = cutting
    try:
        trained(folder, group, config=config)
        raise AssertionError("not cut")
    except Cut:
        step.Stepper.step = real
    return trained(folder, group, config=config)


def dropping(folder: Path, group: Group) -> Any:
    return trained(folder, group, config=settings(lora_dropout=0.3))


def dropping_interrupted(folder: Path, group: Group) -> Any:
    return interrupted(folder, group, settings(lora_dropout=0.3), cut=7)


def not_finite(folder: Path, group: Group) -> Any:
    """The last process alone meets a loss that is not a number, in step 4."""
    real, calls = sft.sft_loss, []

    def poisoned(*arguments: Any) -> Any:
        calls.append(1)
        last = group.rank == group.size - 1
        return real(*arguments) * (float("nan") if last and len(calls) == 4 else 1.0)

    sft.sft_loss = poisoned
    try:
        trained(folder, group, config=settings())
    except TrainingError as error:
        kept = [path.name for path in (folder / "checkpoints").glob("step-*")]
        return None, {"error": str(error), "kept": kept, "lines": len(read_jsonl(folder / "metrics.jsonl"))}
    finally:
        sft.sft_loss = real


def scarce(folder: Path, group: Group) -> Any:
    """The last process alone runs out of memory for more than one sequence."""
    real = step.TokenLosses.__call__

    def short(losses: Any, batch: Any) -> Any:
        if group.rank == group.size - 1 and batch.sequences > 1 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("out of memory")
        return real(losses, batch)

    step.TokenLosses.__call__ = short
    try:
        return trained(folder, group, config=settings(**GENTLE))
    finally:
        step.TokenLosses.__call__ = real


SCENARIOS = (
    as_one, with_dpo, with_kto, sharded, sharded_full, full_bfloat16, full_bfloat16_interrupted, sharded_bfloat16,
    sharded_bfloat16_interrupted, sharded_float16, gradients_sharded, dropping, dropping_interrupted, not_finite,
    scarce,
)  # fmt: skip


def play(group: Group, folder: Path) -> None:
    for scenario in SCENARIOS:
        model, found = scenario(folder / scenario.__name__, group)
        state = adapter_state(model) if model is not None else {}
        if group.rank == 0:
            (folder / f"{scenario.__name__}.json").write_text(json.dumps(found))
            save_file(state, folder / f"{scenario.__name__}.safetensors")


def process(rank: int, size: int, folder: Path) -> int:
    """Fork a process of a group of that size; its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        torch.set_num_threads(1)
        folder.mkdir(parents=True, exist_ok=True)
        if size == 1:
            play(Group(), folder)
        else:
            os.environ[RENDEZVOUS] = f"file://{folder}/meeting"
            with meeting(Place(rank, size, rank, size)) as group:
                play(group, folder)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    import transformers  # noqa: F401 - loaded once, before the forks

    folder = Path(sys.argv[1])
    children = [process(0, 1, folder / "one"), *(process(rank, 2, folder / "two") for rank in range(2))]
    while children:
        child, status = os.wait()
        children.remove(child)
        if status:
            for other in children:
                os.kill(other, 9)
            sys.exit(f"process {child} ended with {status}")


if __name__ == "__main__":
    main()
