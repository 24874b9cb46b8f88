"""LoRA and QLoRA of a model of 8 billion parameters on one GPU, projected from measured steps, beside TRL.

    python benchmarks/gpu_8b.py --json > gpu.json      # Llama-3.1-8B's shape, random weights, bfloat16
    python benchmarks/gpu_8b.py --shape tiny --steps 6  # the same code on any machine
    python benchmarks/gpu_8b.py --sides shared,shared-blocks,shared-sdpa    # ways to compute attention
    python benchmarks/gpu_8b.py --sides full,trl-full

5,000 examples of 512 tokens (256 of them labelled), 3 epochs, batch 16, LoRA r 16 on all linear layers.

burnish, trl: nothing is shared; TRL runs with Liger kernels where they are installed. trl-accumulate: TRL with four
    passes of 4 rows a step, which is tried by itself where 16 rows do not fit.
shared: the first 256 tokens of all examples are the same, and are computed once: flex attention. shared-blocks and
    shared-sdpa: the same with attention node by node, and by a mask over all pairs.
full, trl-full: all weights of Llama-3.2-1B's shape; in bfloat16 Burnish has their lower bits beside, TRL float32
    weights and autocast.
qlora: peak memory at batch 1 of 2,048 tokens, with gradient checkpointing.

Each side runs in a process of its own; its first steps, in which kernels are compiled, are not timed. Progress and
each result go to stderr as they come; a side that fails, or that takes too long, is told whole and keeps no other
from its turn. The arithmetic's floor is printed beside: forward and backward of frozen weights are 4 FLOP a parameter
and token.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

EXAMPLES, LENGTH, EPOCHS, BATCH = 5000, 512, 3, 16
SHAPES: dict[str, dict[str, int]] = {
    "8b": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
    },
    "1b": {
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
    },
    "tiny": {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
    },
}  # fmt: skip
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}  # bf16, dense


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="8b")
    parser.add_argument("--steps", type=int, default=60, help="steps in all, 10 of them not timed (default 60)")
    parser.add_argument("--sides", default="burnish,trl,shared,qlora", help=f"of {','.join(SIDES)}")
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--minutes", type=float, default=20, help="that a side may take (default 20)")
    parser.add_argument("--json", action="store_true", help="the results on one line")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        name, _, folder = arguments.side.partition(":")
        done = _save(arguments.shape, folder) if folder else SIDES[name](arguments.shape, arguments.steps)
        print(json.dumps(done))
        return
    import torch

    if arguments.shape != "tiny" and not torch.cuda.is_available():
        sys.exit("gpu_8b: there is no GPU here; --shape tiny runs the same code on a CPU")
    sides = [side for side in arguments.sides.split(",") if not (arguments.no_trl and side == "trl")]
    unknown = sorted(set(sides) - set(SIDES))
    if unknown:
        sys.exit(f"gpu_8b: no such side: {', '.join(unknown)}")
    found: dict[str, Any] = {}
    try:
        for side in sides:
            _tell(f"== {side}")
            found[side] = _run(side, arguments)
            _tell(f"{side}: {found[side].get('failed') or json.dumps(found[side])}")
            if side == "trl" and "out of memory" in found[side].get("stderr", ""):
                sides.insert(sides.index(side) + 1, "trl-accumulate")
    except KeyboardInterrupt:
        _tell("stopped; what there is:")
    speeds = {side: result["tokens_per_s"] for side, result in found.items() if "tokens_per_s" in result}
    theirs = speeds.get("trl", speeds.get("trl-accumulate"))
    if theirs and "burnish" in speeds:
        found["ratio"] = round(speeds["burnish"] / theirs, 2)
    if {"full", "trl-full"} <= set(speeds):
        found["ratio_full"] = round(speeds["full"] / speeds["trl-full"], 2)
    found["machine"] = {
        "date": time.strftime("%Y-%m-%d"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: _version(name) for name in ("torch", "transformers", "peft", "trl", "liger_kernel")},
    }
    print(json.dumps(found, indent=None if arguments.json else 2))
    if any("failed" in found[side] for side in sides if side in found):
        sys.exit(1)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _run(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A side's result, or {"failed": why, the last of its stderr in full}. Its stderr is shown as it comes."""
    command = [sys.executable, __file__, "--shape", arguments.shape, "--steps", str(arguments.steps), "--side", side]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        clock = threading.Timer(60 * arguments.minutes, process.kill)
        clock.start()
        output: list[str] = []
        reader = threading.Thread(target=lambda: output.extend(process.stdout or ()))
        reader.start()
        told: deque[str] = deque(maxlen=200)
        for line in process.stderr:
            told.append(line)
            sys.stderr.write(line)
            sys.stderr.flush()
        code = process.wait()
        reader.join()
        late = not clock.is_alive()
        clock.cancel()
    try:
        result: dict[str, Any] = json.loads(output[-1])
    except (IndexError, ValueError):
        code = code or 1
    if code:
        why = f"not done after {arguments.minutes:g} minutes" if late else f"exit status {code}"
        return {"failed": why, "stderr": "".join(told)}
    return result


def model_of(shape: str, way: Any = None, wanted: Any = "auto") -> tuple[Any, str]:
    """A Llama of that shape with random weights, on the GPU where there is one. way: to compute attention."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from burnish.models.attention import choose_attention
    from burnish.models.device import choose_dtype, detect

    device = detect()
    dtype = choose_dtype(wanted, device)
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=False)
    with torch.device(device.device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    choose_attention(model, device.device, way)
    return model.requires_grad_(False), device.device


def items_of(shape: str, count: int, length: int, shared: int = 0) -> list[Any]:
    """Random tokens, of which all rows have the first `shared` in common; the second half is labelled."""
    import numpy as np

    from burnish.records import Source
    from burnish.training.encode import tail_item

    rng = np.random.default_rng(0)
    tokens = rng.integers(0, SHAPES[shape]["vocab_size"], (count, length))
    tokens[:, :shared] = tokens[0, :shared]
    return [tail_item(row, length // 2, 1.0, Source("random", i)) for i, row in enumerate(tokens.tolist())]


def _burnish(shape: str, steps: int, *, shared: int = 0, way: Any = None) -> dict[str, Any]:
    model, device = model_of(shape, way)
    return _train(model, device, shape, steps, BATCH, LENGTH, shared=shared)


def _of_full(shape: str) -> str:
    """The shape whose weights are all trained: of 8 billion, their states alone would fill the GPU."""
    return "1b" if shape == "8b" else shape


def _full(shape: str, steps: int) -> dict[str, Any]:
    shape = _of_full(shape)
    model, device = model_of(shape)
    return _train(model, device, shape, steps, BATCH, LENGTH, method="full")


def _qlora(shape: str, steps: int) -> dict[str, Any]:
    """The same shape in 4 bits. Weights are made and saved by another process, so that they are in no peak here."""
    import torch
    from transformers import AutoModelForCausalLM

    from burnish.models.attention import choose_attention
    from burnish.models.device import choose_dtype, detect
    from burnish.models.quantised import mend_layers, quantisation_config

    device = detect()
    dtype = choose_dtype("auto", device)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--shape", shape, "--side", f"save:{folder}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        model = AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=quantisation_config("nf4", dtype), dtype=dtype, device_map={"": device.device}
        )
    mend_layers(model)
    choose_attention(model, device.device)
    if device.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model.requires_grad_(False)
    return _train(model, device.device, shape, min(steps, 12), 1, 2048, method="qlora", gradient_checkpointing=True)


def _save(shape: str, folder: str) -> dict[str, Any]:
    model, _ = model_of(shape)
    model.save_pretrained(folder)
    return {}


def _train(
    model: Any,
    device: str,
    shape: str,
    steps: int,
    batch: int,
    length: int,
    *,
    shared: int = 0,
    method: Literal["lora", "qlora", "full"] = "lora",
    **options: Any,
) -> dict[str, Any]:
    import burnish
    from burnish.models import token_losses
    from burnish.models.attention import way_of
    from burnish.models.layout import Batch
    from burnish.runs import read_jsonl

    notes: list[str] = []  # such as that flex attention, or a compiled function, does not work here
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("burnish").addHandler(handler)
    plans: set[str] = set()
    real = token_losses.TokenLosses._inputs

    def watched(losses: token_losses.TokenLosses, batch: Batch) -> dict[str, Any]:
        inputs = real(losses, batch)
        plans.add(type(inputs["plan"]).__name__ if "plan" in inputs else "masks")
        return inputs

    model = burnish.attach_adapter(model, method=method, r=16, alpha=32, seed=0)
    settings = burnish.TrainingConfig(
        method=method, learning_rate=1e-4, batch_size=batch, num_epochs=1000, max_steps=steps, evals_per_epoch=1e-6,
        checkpoint_steps=10**6, tokens_per_batch=max(16384, length), **options,
    )  # fmt: skip
    items = items_of(shape, batch * steps, length, shared)
    watching = patch.object(token_losses.TokenLosses, "_inputs", watched)
    with watching, tempfile.TemporaryDirectory() as folder:
        burnish.train(
            model, items, [], settings=settings, seed=0, device=device, folder=Path(folder), metric=None,
            metric_name="", progress=burnish.Silent(),
            on_log=lambda line: _step(line["step"], steps, line.get("seconds")),
        )  # fmt: skip
        lines = [line for line in read_jsonl(Path(folder) / "metrics.jsonl") if "loss" in line]
    seconds = [line["tokens"] / line["tokens_per_second"] for line in lines]
    about = {"attention": way_of(model), "plans": sorted(plans), "notes": notes}
    return _result(model, seconds, batch * length, device) | about


def _step(number: Any, steps: int, seconds: Any) -> None:
    """A line now and then; validations, which take no seconds, have none."""
    if seconds is not None and (number in (1, steps) or number % 10 == 0):
        _tell(f"   step {number} of {steps}, {seconds:.1f} s")


def _trl(shape: str, steps: int, *, accumulate: int = 1, full: bool = False) -> dict[str, Any]:
    from importlib.util import find_spec

    import torch
    from peft import LoraConfig
    from step_clock import StepClock
    from trl_peer import trl_trainer

    from burnish.models.device import choose_dtype, detect

    shape = _of_full(shape) if full else shape
    mixed = full and choose_dtype("auto", detect()) == torch.bfloat16
    model, device = model_of(shape, wanted="float32" if full else "auto")
    model.requires_grad_(full).set_attn_implementation("sdpa")
    adapter = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    clock = StepClock(lambda seconds: _step(len(seconds), steps, sum(seconds)))
    liger = find_spec("liger_kernel") is not None
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl_trainer(
            "sft", model, _tokenizer(shape), items_of(shape, BATCH * steps, LENGTH), folder=folder,
            batch=BATCH // accumulate, accumulate=accumulate, steps=steps, rate=1e-4, warmup_steps=2,
            callbacks=[clock],
            peft_config=None if full else adapter, bf16=mixed, use_liger_kernel=liger,
        )  # fmt: skip
        trainer.train()
    return _result(trainer.model, clock.seconds, BATCH * LENGTH, device) | {"liger": liger}


def _tokenizer(shape: str) -> Any:
    """A tokenizer as large as the model's vocabulary; nothing is tokenised with it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(SHAPES[shape]["vocab_size"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="w0", eos_token="w1", unk_token="w0")


def _result(model: Any, seconds: list[float], tokens: int, device: str) -> dict[str, Any]:
    """Speed of the timed steps and what it means for the whole training; floor: by the GPU's rated products."""
    import torch

    from burnish.models.quantised import parameter_count
    from burnish.training.journal import peak_memory_mb

    timed = seconds[min(10, len(seconds) // 3) :]
    per_step = sum(timed) / len(timed)
    parameters = sum(parameter_count(p) for name, p in model.named_parameters() if "embed" not in name)
    total = EXAMPLES * EPOCHS * LENGTH
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((flops for gpu, flops in PEAK_FLOPS.items() if gpu in name), None)
    return {
        "tokens_per_s": round(tokens / per_step, 1),
        "timed_steps": len(timed),
        "projected_minutes": round(total / (tokens / per_step) / 60, 2),
        "floor_minutes": None if peak is None else round(4 * parameters * total / peak / 60, 2),
        "first_step_s": round(seconds[0], 2),
        "fastest_step_s": round(min(timed), 4),
        "slowest_step_s": round(max(timed), 4),
        "peak_gb": round(peak_memory_mb(device) / 1024, 2),
        "reserved_gb": round(torch.cuda.max_memory_reserved() / 2**30, 2) if device == "cuda" else None,
    }


SIDES: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "burnish": _burnish,
    "trl": _trl,
    "trl-accumulate": functools.partial(_trl, accumulate=4),
    "shared": functools.partial(_burnish, shared=LENGTH // 2),
    "shared-blocks": functools.partial(_burnish, shared=LENGTH // 2, way="blocks"),
    "shared-sdpa": functools.partial(_burnish, shared=LENGTH // 2, way="sdpa"),
    "full": _full,
    "trl-full": functools.partial(_trl, full=True),
    "qlora": _qlora,
}

if __name__ == "__main__":
    main()
