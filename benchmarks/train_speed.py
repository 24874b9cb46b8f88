"""Burnish and its peers train on the same token sequences, one after the other: speed, memory, loss.

    python benchmarks/train_speed.py benchmarks/tasks/banking77.yaml --prompt full --batch 8 --steps 6 --peers trl
    python benchmarks/train_speed.py … --peers trl llamafactory --llamafactory-python FOLDER/bin/python
    python benchmarks/train_speed.py … --peers unsloth --unsloth-python FOLDER/bin/python

Each runs in a process of its own, so that one's memory is not the other's. Both get the task's examples already
rendered and tokenised, in the same batches, the same model, adapter and first adapter weights, rate and number of
steps, and a validation set of examples that neither trains on, measured by the same code afterwards: the losses are
equal but for rounding. The first steps (--warmup) are not timed.

LLaMA-Factory and Unsloth want other versions than Burnish, so each lives in an environment of its own
(benchmarks/README.md says how one is made) and is given the same token ids, labels and first adapter; its memory is
that of its own process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

ELSEWHERE = ("llamafactory", "unsloth")  # peers with a Python of their own
PEERS = ("trl", *ELSEWHERE)
SEED = 0


def main() -> None:
    """Read the command line, run each side in turn, print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--rows", type=int, default=512, help="examples to train on (default 512)")
    parser.add_argument("--batch", type=int, default=8, help="examples an optimizer step (default 8)")
    parser.add_argument(
        "--peer-batch", type=int, help="examples a forward pass of the peer; it accumulates to --batch"
    )
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps in all (default 10)")
    parser.add_argument("--warmup", type=int, default=2, help="steps at the start that are not timed (default 2)")
    parser.add_argument("--objective", choices=("sft", "dpo"), default="sft")
    parser.add_argument(
        "--method",
        choices=("lora", "dora", "full"),
        default="lora",
        help="full: TRL casts float32 weights to bfloat16",
    )
    parser.add_argument("--rate", type=float, help="learning rate (default: the task's, for full 2e-5)")
    parser.add_argument("--lora-dropout", type=float, default=0.0, help="of all sides (default 0)")
    parser.add_argument("--prompt", choices=("short", "full"), help="overrides training.prompt")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--peers", nargs="*", default=["trl"], choices=PEERS)
    for peer in ELSEWHERE:
        parser.add_argument(f"--{peer}-python", default="", metavar="PYTHON", help="of the environment that has it")
    parser.add_argument("--validation", type=int, default=32, help="examples for the loss afterwards (default 32)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        _side(arguments.side, arguments.task)
        return
    for peer in set(ELSEWHERE).intersection(arguments.peers):
        if not _python(arguments, peer) or arguments.objective != "sft" or arguments.method != "lora":
            parser.error(f"{peer} needs --{peer}-python, --objective sft and --method lora")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.json"
        work.write_text(json.dumps(_work(arguments)), encoding="utf-8")
        measured = {side: _run(side, work) for side in ("burnish", *arguments.peers)}
    if arguments.peers:
        ours = measured["burnish"]["examples_per_s"]
        ratios = {peer: round(ours / measured[peer]["examples_per_s"], 2) for peer in arguments.peers}
        measured["ratio"] = ratios[arguments.peers[0]]
        if len(ratios) > 1:
            measured["ratios"] = ratios
    measured["machine"] = _machine(measured["burnish"].pop("dtype"), arguments.peers)
    for peer in arguments.peers:
        measured[peer].pop("dtype")
    print(json.dumps(measured, indent=None if arguments.json else 2))


def _python(arguments: argparse.Namespace, peer: str) -> str:
    return str(getattr(arguments, f"{peer}_python"))


def _work(arguments: argparse.Namespace) -> dict[str, Any]:
    """The items and settings that every side gets."""
    import burnish
    from burnish.models.chat import Chat
    from burnish.prepare import prepare

    loaded = burnish.load_task(arguments.task)
    training = loaded.config.training
    prepared = prepare(loaded)
    chat = Chat(burnish.load_tokenizer(loaded.config.model))
    full = (arguments.prompt or training.prompt) == "full"
    rows = list(prepared.split.train)
    random.Random(SEED).shuffle(rows)
    many = min(arguments.rows, len(rows)) // arguments.batch * arguments.batch  # whole batches: TRL's run on

    def items(examples: Any) -> Any:
        encoded = burnish.encode(
            examples, prepared.task, chat, full=full, max_length=training.max_length, objective=arguments.objective
        )
        return [[item.sequences, item.weight] for item in encoded.rows]

    return {
        "objective": arguments.objective,
        "model": loaded.config.model,
        "dtype": arguments.dtype,
        "rows": items(rows[:many]),
        "validation": items(list(prepared.split.validation)[: arguments.validation]),
        "batch": arguments.batch,
        "peer_batch": arguments.peer_batch or arguments.batch,
        "pythons": {peer: _python(arguments, peer) for peer in ELSEWHERE},
        "steps": arguments.steps,
        "warmup": arguments.warmup,
        "method": arguments.method,
        "rate": arguments.rate or (2e-5 if arguments.method == "full" else training.learning_rate),
        "r": training.lora_r,
        "alpha": training.lora_alpha,
        "dropout": arguments.lora_dropout,
    }


def _items(plain: list[Any]) -> list[Any]:
    """Items as they come back from JSON."""
    from burnish.models.layout import Labelled, Span
    from burnish.records import Source
    from burnish.training.objectives.base import Item

    return [
        Item(
            tuple(Labelled(tuple(tokens), tuple(Span(*span) for span in spans)) for tokens, spans in sequences),
            weight,
            Source("row", number),
        )
        for number, (sequences, weight) in enumerate(plain)
    ]


def _run(side: str, work: Path) -> dict[str, Any]:
    """One side in its own process."""
    command = [sys.executable, __file__, str(work), "--side", side]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=False
    )
    if done.returncode:
        sys.exit(f"{side} failed (status {done.returncode}):\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _side(name: str, path: Path) -> None:
    work = json.loads(path.read_text(encoding="utf-8"))
    work["rows"], work["validation"] = _items(work["rows"]), _items(work["validation"])
    sides = {"burnish": _burnish, "trl": _trl}
    seconds, model, dtype, peak = sides[name](work) if name in sides else _elsewhere(name, work)
    timed = seconds[work["warmup"] :]
    per_step = sum(timed) / len(timed)
    rows = work["rows"]
    rate = work["batch"] / per_step
    print(
        json.dumps(
            {
                "examples_per_s": round(rate, 3),
                "tokens_per_s": round(rate * sum(item.tokens for item in rows) / len(rows), 1),
                "labelled_tokens_per_s": round(rate * sum(item.labelled for item in rows) / len(rows), 1),
                "step_s": round(per_step, 3),
                "peak_mb": round(peak),
                "loss": round(held_out_loss(model, work["validation"], work["objective"]), 4),
                "dtype": dtype,
            }
        )
    )


def _burnish(work: dict[str, Any]) -> tuple[list[float], Any, str, float]:
    """Seconds of each optimizer step, the trained model, its number format, and peak memory in MB."""
    import burnish
    from burnish.runs import read_jsonl
    from burnish.training.journal import peak_memory_mb

    base = burnish.load_model(work["model"], dtype=work["dtype"])
    model = _adapted(base.model, work)
    settings = burnish.TrainingConfig(
        method=work["method"],
        learning_rate=work["rate"],
        batch_size=work["batch"],
        num_epochs=1000,
        max_steps=work["steps"],
        evals_per_epoch=1e-6,
        checkpoint_steps=10**6,
        tokens_per_batch=2**16,
        lora_dropout=work["dropout"],
        warmup_ratio=0,  # TRL's first step of a warm-up has rate 0, ours has not
    )
    # TRL computes the reference in every step; computed once before, it is no part of a step here. So that both do
    # the same work, it is spread over the steps that it serves.
    began = time.perf_counter()
    first: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        burnish.train(
            model, work["rows"], [], settings=settings, seed=SEED, device=base.device, folder=Path(folder),
            metric=None, metric_name="", progress=burnish.Silent(),
            objective=burnish.make_objective(work["objective"]),
            on_log=lambda line: first.append(time.perf_counter()),
        )  # fmt: skip
        lines = [line for line in read_jsonl(Path(folder) / "metrics.jsonl") if "loss" in line]
    ends = [line["tokens"] / line["tokens_per_second"] for line in lines]
    if work["objective"] != "sft":
        once = max(0.0, first[0] - began - ends[0])
        ends = [seconds + once * work["batch"] / len(work["rows"]) for seconds in ends]
    return ends, model, str(base.dtype).removeprefix("torch."), peak_memory_mb(base.device)


def _adapted(model: Any, work: dict[str, Any]) -> Any:
    """The model with the adapter that both sides train, its first weights drawn alike."""
    import burnish

    if work["method"] == "full":
        return burnish.attach_adapter(model, method="full")
    return burnish.attach_adapter(
        model, method=work["method"], r=work["r"], alpha=work["alpha"], dropout=work["dropout"], seed=SEED
    )


def _in_order(rows: list[Any], batch: int, steps: int) -> list[Any]:
    """The rows as Burnish takes them, step by step."""
    from burnish.training.batches import epoch_order

    every = (step for epoch in count() for step in epoch_order([item.tokens for item in rows], batch, SEED, epoch))
    return [rows[place] for place in islice(chain.from_iterable(every), batch * steps)]


def _trl(work: dict[str, Any]) -> tuple[list[float], Any, str, float]:
    """As above with TRL's trainer, without gradient checkpointing, in the number format that Burnish takes.

    All weights in bfloat16 would be rounded at every step: float32 ones are cast in the passes, as its users have it.
    """
    from step_clock import StepClock
    from trl_peer import trl_trainer

    import burnish
    from burnish.models.device import choose_dtype, detect
    from burnish.training.journal import peak_memory_mb

    dtype = str(choose_dtype(work["dtype"], detect())).removeprefix("torch.")
    mixed = work["method"] == "full" and dtype == "bfloat16"
    base = burnish.load_model(work["model"], dtype="float32" if mixed else work["dtype"])
    base.model.set_attn_implementation("sdpa")
    model = _adapted(base.model, work)
    for module in model.modules():
        module.__dict__.pop("forward", None)  # peft's own layers, none of ours
        if magnitudes := getattr(module, "lora_magnitude_vector", None):
            # peft begins with norms in the weights' format, and computes those that it divides by in it
            size = magnitudes["default"].weight.data
            size.copy_(size.to(module.base_layer.weight.dtype))
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl_trainer(
            work["objective"],
            model,
            base.tokenizer,
            _in_order(work["rows"], work["batch"], work["steps"]),
            folder=folder,
            batch=work["peer_batch"],
            accumulate=max(1, work["batch"] // work["peer_batch"]),
            steps=work["steps"],
            rate=work["rate"],
            in_order=True,
            warmup_steps=0,
            callbacks=[clock],
            bf16=mixed,
        )
        trainer.train()
    return clock.seconds, trainer.model, dtype, peak_memory_mb(base.device)


def _elsewhere(peer: str, work: dict[str, Any]) -> tuple[list[float], Any, str, float]:
    """As above with a peer in its own environment, by its script beside this one."""
    from peft import PeftModel
    from trl_peer import sft_rows

    import burnish

    base = burnish.load_model(work["model"], dtype=work["dtype"])
    dtype = str(base.dtype).removeprefix("torch.")
    name = base.model.config._name_or_path
    with tempfile.TemporaryDirectory() as folder:
        first, out, given = Path(folder) / "first", Path(folder) / "out", Path(folder) / "given.json"
        _adapted(base.model, work).save_pretrained(first)
        settings = {
            "model": name,
            "adapter": str(first),
            "rows": sft_rows(_in_order(work["rows"], work["batch"], work["steps"])),
            "batch": work["peer_batch"],
            "accumulate": max(1, work["batch"] // work["peer_batch"]),
            "steps": work["steps"],
            "rate": work["rate"],
            "r": work["r"],
            "alpha": work["alpha"],
            "dropout": work["dropout"],
            "dtype": dtype,
            "gpu": base.device == "cuda",
            "out": str(out),
        }
        given.write_text(json.dumps(settings), encoding="utf-8")
        base = base._replace(model=None)  # the memory is for the other process
        script = Path(__file__).with_name(f"{peer}_peer.py")
        done = subprocess.run(
            [work["pythons"][peer], str(script), str(given)], capture_output=True, text=True, cwd=folder, check=False
        )
        if done.returncode:
            sys.exit(f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{peer}: {found['versions']}", file=sys.stderr)
        plain = burnish.load_model(work["model"], dtype=work["dtype"]).model
        model = PeftModel.from_pretrained(plain, str(out))
    return found["seconds"], model, dtype, found["peak_mb"]


def held_out_loss(model: Any, items: list[Any], objective: str) -> float:
    """Mean loss on held-out items, one by one, with transformers' own logits; of pairs the DPO loss at beta 0.1."""
    import torch

    def logprob(sequence: Any) -> float:
        tokens = torch.tensor([sequence.tokens], device=model.device)
        logits = model(input_ids=tokens).logits[0, :-1].float().log_softmax(-1)
        chosen = logits.gather(1, tokens[0, 1:, None])[:, 0]
        return sum(float(chosen[span.first - 1 : span.last - 1].sum()) for span in sequence.spans)

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for item in items:
            found = [logprob(sequence) for sequence in item.sequences]
            if objective == "sft":
                total, count = total - found[0], count + item.labelled
                continue
            with model.disable_adapter():
                reference = [logprob(sequence) for sequence in item.sequences]
            margin = (found[0] - reference[0]) - (found[1] - reference[1])
            total, count = total + math.log1p(math.exp(-0.1 * margin)), count + 1
    return total / count


def _machine(dtype: str, peers: list[str]) -> dict[str, Any]:
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "dtype": dtype,
        **{name: version(name) for name in ["torch", "transformers", "peft", *(["trl"] if "trl" in peers else [])]},
    }


if __name__ == "__main__":
    main()
