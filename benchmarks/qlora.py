"""LoRA on full weights and on 4-bit weights: the same rows, rate, seed and steps; losses and memory side by side.

    python benchmarks/qlora.py benchmarks/tasks/trec.yaml --rows 640 --steps 40

qlora begins corrected (models/corrected.py), as Burnish does it; plain begins as QLoRA does, on what 4 bits have
left.

served: the validation loss, row by row, of what was trained: on its own base, on the base in full as it is, and as
`burnish export --for-full-base` makes it for that. Each runs in a process of its own, so that one's memory is not the
other's. Peak memory is the process's highest resident size, loading included; linear_mb is the size of the linear
layers themselves, scales included. No times: they differ in what they compute, and this says nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

SIDES = ("lora", "qlora", "plain")
WINDOW = 10  # steps whose mean losses are compared


def main() -> None:
    """Read the command line, run both sides in turn, print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--rows", type=int, default=640, help="examples to train on (default 640)")
    parser.add_argument("--batch", type=int, default=16, help="examples an optimizer step (default 16)")
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps (default 40)")
    parser.add_argument("--validation", type=int, default=100, help="examples for the loss afterwards (default 100)")
    parser.add_argument("--tokens-per-batch", type=int, default=4096, help="of a forward pass (default 4096)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(_side(arguments.side, json.loads(arguments.task.read_text(encoding="utf-8")))))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.json"
        work.write_text(json.dumps(_work(arguments)), encoding="utf-8")
        found = {side: _run(side, work) for side in SIDES}
    print(json.dumps(_compared(found), indent=2))


def _work(arguments: argparse.Namespace) -> dict[str, Any]:
    """The token sequences and settings that both sides get."""
    import burnish
    from burnish.models.chat import Chat
    from burnish.prepare import prepare

    loaded = burnish.load_task(arguments.task)
    training = loaded.config.training
    prepared = prepare(loaded)
    chat = Chat(burnish.load_tokenizer(loaded.config.model))
    rows = list(prepared.split.train)
    random.Random(0).shuffle(rows)

    def tokens(examples: Any) -> list[list[Any]]:
        full, most = training.prompt == "full", training.max_length
        encoded = burnish.encode(examples, prepared.task, chat, full=full, max_length=most).rows
        labelled = [item.sequences[0] for item in encoded]
        return [[list(sequence.tokens), sequence.spans[0].first] for sequence in labelled]

    return {
        "model": loaded.config.model,
        "dtype": arguments.dtype,
        "rows": tokens(rows[: arguments.rows]),
        "validation": tokens(list(prepared.split.validation)[: arguments.validation]),
        "settings": {
            "learning_rate": training.learning_rate,
            "lora_r": training.lora_r,
            "lora_alpha": training.lora_alpha,
            "batch_size": arguments.batch,
            "max_steps": arguments.steps,
            "num_epochs": 1000,
            "evals_per_epoch": 1e-6,
            "checkpoint_steps": 10**6,
            "tokens_per_batch": arguments.tokens_per_batch,
        },
    }


def _run(side: str, work: Path) -> dict[str, Any]:
    """One side in its own process."""
    command = [sys.executable, __file__, str(work), "--side", side]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{side} failed (status {done.returncode}):\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _side(side: Literal["lora", "qlora", "plain"], work: dict[str, Any]) -> dict[str, Any]:
    """Train; losses of the steps and of validation, memory, and the bytes of the linear layers."""
    import psutil
    from train_speed import held_out_loss

    import burnish
    from burnish.models.adapters import adapter_state
    from burnish.models.corrected import correct_quantisation, for_full_weights
    from burnish.training.encode import tail_item
    from burnish.training.journal import peak_memory_mb

    method: Literal["lora", "qlora"] = "lora" if side == "lora" else "qlora"
    base = burnish.load_model(work["model"], dtype=work["dtype"], quantise=None if side == "lora" else "nf4")
    settings = burnish.TrainingConfig(method=method, **work["settings"])
    linear = _linear_bytes(base.model)
    loaded_mb = psutil.Process().memory_info().rss / 2**20
    model = burnish.attach_adapter(
        base.model, method=settings.method, r=settings.lora_r, alpha=settings.lora_alpha, seed=0
    )

    def rows(part: str) -> list[Any]:
        return [
            tail_item(tokens, prompt, 1.0, burnish.Source(part, i)) for i, (tokens, prompt) in enumerate(work[part])
        ]

    start: dict[str, Any] = {}
    if side == "qlora":
        start = correct_quantisation(model, [tokens for tokens, _ in work["rows"]], seed=0).start
    with tempfile.TemporaryDirectory() as folder:
        result = burnish.train(
            model, rows("rows"), rows("validation"), settings=settings, seed=0, device=base.device,
            folder=Path(folder), metric=None, metric_name="", progress=burnish.Silent(),
        )  # fmt: skip
    found = {
        "losses": [line["loss"] for line in result.history if "loss" in line],
        "validation_loss": result.history[-1]["validation_loss"],
        "loaded_mb": round(loaded_mb),
        "peak_mb": round(peak_memory_mb(base.device)),
        "linear_mb": round(linear / 2**20, 1),
    }
    state = adapter_state(model)
    held_out = rows("validation")
    served = {"own_base": held_out_loss(model, held_out, "sft")}
    if method == "qlora":
        served["full_base"] = _on_full_base(work, settings, held_out, state, 1)
        exported = for_full_weights(state, start)
        served["full_base_exported_for_it"] = _on_full_base(work, settings, held_out, exported, 2)
    return found | {"served": {where: round(loss, 4) for where, loss in served.items()}}


def _on_full_base(
    work: dict[str, Any], settings: Any, held_out: list[Any], state: dict[str, Any], times: int
) -> float:
    """Validation loss of an adapter, of `times` the rank, on the base in full."""
    from train_speed import held_out_loss

    import burnish
    from burnish.models.adapters import restore_adapter_state

    base = burnish.load_model(work["model"], dtype=work["dtype"])
    model = burnish.attach_adapter(base.model, r=times * settings.lora_r, alpha=times * settings.lora_alpha)
    restore_adapter_state(model, state)
    return held_out_loss(model, held_out, "sft")


def _linear_bytes(model: Any) -> int:
    """Bytes of all linear layers but the output head, the scales of 4-bit weights included."""
    import torch

    from burnish.models.quantised import is_quantised

    total = 0
    for module in model.modules():
        if not isinstance(module, torch.nn.Linear) or module is model.get_output_embeddings():
            continue
        total += module.weight.numel() * module.weight.element_size()
        if is_quantised(module):
            weight: Any = module.weight
            state = weight.quant_state
            scales = (state.absmax, state.state2.absmax)
            total += sum(tensor.numel() * tensor.element_size() for tensor in scales)
    return total


def _compared(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each side's windows, validation loss and memory; the others' differences from lora."""

    def beside(values: dict[str, float]) -> dict[str, Any]:
        rounded = {side: round(value, 4) for side, value in values.items()}
        gaps = {f"{side} - lora": f"{values[side] / values['lora'] - 1:+.1%}" for side in SIDES[1:]}
        return rounded | gaps

    def mean(losses: list[float]) -> float:
        return sum(losses) / len(losses)

    steps = len(found["lora"]["losses"])
    return {
        "losses": [
            {"steps": f"{start + 1} to {min(start + WINDOW, steps)}"}
            | beside({side: mean(one["losses"][start : start + WINDOW]) for side, one in found.items()})
            for start in range(0, steps, WINDOW)
        ],
        "all_steps": beside({side: mean(one["losses"]) for side, one in found.items()}),
        "validation_loss": beside({side: one["validation_loss"] for side, one in found.items()}),
        "served": {
            side: {key: round(value, 4) for key, value in one["served"].items()} for side, one in found.items()
        },
        "memory_mb": {
            name: {side: one[name] for side, one in found.items()} for name in ("loaded_mb", "peak_mb", "linear_mb")
        },
    }


if __name__ == "__main__":
    main()
