"""LoRA and QLoRA of a model of 8 billion parameters on one GPU, projected from measured steps, beside TRL.

    python benchmarks/gpu_8b.py --json                 # Llama-3.1-8B's shape, random weights, bfloat16
    python benchmarks/gpu_8b.py --shape tiny --steps 6  # the same code on any machine

5,000 examples of 512 tokens (256 of them labelled, nothing shared), 3 epochs, batch 16, LoRA r 16 on all linear
layers. Each side runs in a process of its own; the first steps are not timed. TRL runs with Liger kernels where they
are installed. QLoRA: peak memory at batch 1 of 2,048 tokens. The arithmetic's floor is printed beside: forward and
backward of frozen weights are 4 FLOP a parameter and token.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXAMPLES, LENGTH, EPOCHS, BATCH = 5000, 512, 3, 16
SHAPES: dict[str, dict[str, int]] = {
    "8b": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
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
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        name, _, folder = arguments.side.partition(":")
        done = _save(arguments.shape, folder) if folder else SIDES[name](arguments.shape, arguments.steps)
        print(json.dumps(done))
        return
    import torch

    if arguments.shape == "8b" and not torch.cuda.is_available():
        sys.exit("gpu_8b: there is no GPU here; --shape tiny runs the same code on a CPU")
    sides = ["burnish", *([] if arguments.no_trl else ["trl"]), "qlora"]
    found = {side: _run(side, arguments) for side in sides}
    if "trl" in found:
        found["ratio"] = round(found["burnish"]["tokens_per_s"] / found["trl"]["tokens_per_s"], 2)
    found["machine"] = {
        "date": time.strftime("%Y-%m-%d"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }
    print(json.dumps(found, indent=None if arguments.json else 2))


def _run(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--shape", arguments.shape, "--steps", str(arguments.steps), "--side", side]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def model_of(shape: str) -> tuple[Any, str]:
    """A Llama of that shape with random weights, on the GPU where there is one."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from burnish.models.attention import choose_attention
    from burnish.models.device import choose_dtype, detect

    device = detect()
    dtype = choose_dtype("auto", device)
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=False)
    with torch.device(device.device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    choose_attention(model, device.device)
    return model.requires_grad_(False), device.device


def items_of(shape: str, count: int, length: int) -> list[Any]:
    """Random tokens: nothing is shared, and every second half is labelled."""
    import numpy as np

    from burnish.records import Source
    from burnish.training.encode import tail_item

    rng = np.random.default_rng(0)
    tokens = rng.integers(0, SHAPES[shape]["vocab_size"], (count, length)).tolist()
    return [tail_item(row, length // 2, 1.0, Source("random", i)) for i, row in enumerate(tokens)]


def _burnish(shape: str, steps: int, *, batch: int = BATCH, length: int = LENGTH) -> dict[str, Any]:
    model, device = model_of(shape)
    return _train(model, device, shape, steps, batch, length)


def _qlora(shape: str, steps: int) -> dict[str, Any]:
    """The same shape in 4 bits. Weights are made and saved by another process, so that they are in no peak here."""
    import torch
    from transformers import AutoModelForCausalLM

    from burnish.models.attention import choose_attention
    from burnish.models.device import choose_dtype, detect
    from burnish.models.quantised import keep_layout, quantisation_config

    device = detect()
    dtype = choose_dtype("auto", device)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "--shape", shape, "--side", f"save:{folder}"], check=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=quantisation_config("nf4", dtype), dtype=dtype, device_map={"": device.device}
        )
    keep_layout(model)
    choose_attention(model, device.device)
    if device.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model.requires_grad_(False)
    return _train(model, device.device, shape, min(steps, 12), 1, 2048, gradient_checkpointing=True)


def _save(shape: str, folder: str) -> dict[str, Any]:
    model, _ = model_of(shape)
    model.save_pretrained(folder)
    return {}


def _train(
    model: Any, device: str, shape: str, steps: int, batch: int, length: int, **options: Any
) -> dict[str, Any]:
    import burnish
    from burnish.runs import read_jsonl
    from burnish.training.loop import peak_memory_mb

    method = "qlora" if getattr(model, "is_loaded_in_4bit", False) else "lora"
    model = burnish.attach_adapter(model, method=method, r=16, alpha=32, seed=0)
    settings = burnish.TrainingConfig(
        learning_rate=1e-4, batch_size=batch, num_epochs=1000, max_steps=steps, evals_per_epoch=1e-6,
        checkpoint_steps=10**6, tokens_per_batch=max(16384, length), **options,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        burnish.train(
            model, items_of(shape, batch * steps, length), [], settings=settings, seed=0, device=device,
            folder=Path(folder), metric=None, metric_name="", progress=burnish.Silent(),
        )  # fmt: skip
        lines = [line for line in read_jsonl(Path(folder) / "metrics.jsonl") if "loss" in line]
    seconds = [line["tokens"] / line["tokens_per_second"] for line in lines]
    return _result(model, seconds, batch * length, peak_memory_mb(device))


def _trl(shape: str, steps: int) -> dict[str, Any]:
    from importlib.util import find_spec

    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl_peer import trl_trainer

    from burnish.training.loop import peak_memory_mb

    model, device = model_of(shape)
    model.set_attn_implementation("sdpa")
    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.began)

    with tempfile.TemporaryDirectory() as folder:
        trainer = trl_trainer(
            "sft", model, _tokenizer(shape), items_of(shape, BATCH * steps, LENGTH), folder=folder, batch=BATCH,
            accumulate=1, steps=steps, rate=1e-4, warmup_steps=2, callbacks=[Clock()],
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
            use_liger_kernel=find_spec("liger_kernel") is not None,
        )  # fmt: skip
        trainer.train()
    return _result(trainer.model, seconds, BATCH * LENGTH, peak_memory_mb(device))


def _tokenizer(shape: str) -> Any:
    """A tokenizer as large as the model's vocabulary; nothing is tokenised with it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(SHAPES[shape]["vocab_size"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="w0", eos_token="w1", unk_token="w0")


def _result(model: Any, seconds: list[float], tokens: int, peak_mb: float) -> dict[str, Any]:
    """Speed of the timed steps and what it means for the whole training; floor: by the GPU's rated products."""
    import torch

    timed = seconds[min(10, len(seconds) // 3) :]
    per_step = sum(timed) / len(timed)
    parameters = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name)
    total = EXAMPLES * EPOCHS * LENGTH
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((flops for gpu, flops in PEAK_FLOPS.items() if gpu in name), None)
    return {
        "tokens_per_s": round(tokens / per_step, 1),
        "timed_steps": len(timed),
        "projected_minutes": round(total / (tokens / per_step) / 60, 2),
        "floor_minutes": None if peak is None else round(4 * parameters * total / peak / 60, 2),
        "peak_gb": round(peak_mb / 1024, 2),
    }


SIDES = {"burnish": _burnish, "trl": _trl, "qlora": _qlora}

if __name__ == "__main__":
    main()
