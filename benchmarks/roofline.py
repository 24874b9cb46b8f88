"""The floor of a training step by arithmetic, what it takes, and where the rest goes.

    python benchmarks/roofline.py benchmarks/tasks/banking77.yaml --batch 8

FLOP of a LoRA step over N computed tokens, of which n carry a label, for P weights in frozen linear layers, R weights
in LoRA matrices and a head of V × D:

    linear layers   2PN forward, 2PN for the gradient of what goes in (the weights have none)
    LoRA            2RN forward, 4RN backward
    head            2VDn forward, 2VDn for the gradient of the hidden states
    attention       computed again in the backward pass: 7 products of 2·D_heads FLOP a layer for each pair of tokens
                    that see each other

The floor is their sum over the rate that the largest square product reaches here. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

PRODUCTS = (
    *(f"aten::{name}" for name in ("mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_")),
    "mkldnn::_linear_pointwise",  # with weights in blocks (models/packed.py)
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompt", choices=("short", "full"))
    parser.add_argument("--steps", type=int, default=6, help="steps that are timed (default 6)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    arguments = parser.parse_args()
    step = Step(arguments)
    step(0)
    rate = product_rate(step.dtype)
    seconds, work = [], []
    for number in range(1, arguments.steps + 1):
        began = time.perf_counter()
        work.append(step(number))
        seconds.append(time.perf_counter() - began)
    parts = {
        name: sum(flops(step.model, *found)[name] for found in work) / len(work)
        for name in flops(step.model, *work[0])
    }
    mean, floor = sum(seconds) / len(seconds), sum(parts.values()) / rate
    tokens = sum(found[0] for found in work) / len(work)
    print(f"{time.strftime('%Y-%m-%d')}, {arguments.task.stem}, batch {arguments.batch}, {step.dtype}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")  # fmt: skip
    print("| part | GFLOP a step | seconds at the floor |\n|---|---|---|")
    for name, value in parts.items():
        print(f"| {name} | {value / 1e9:.1f} | {value / rate:.3f} |")
    print(f"| **sum** | **{sum(parts.values()) / 1e9:.1f}** | **{floor:.3f}** |\n")
    print(f"A 2048³ product reaches {rate / 1e9:.0f} GFLOP/s. A step computes {tokens:.0f} tokens in {mean:.3f} s")
    print(f"({tokens / mean:.0f} computed tokens/s): {floor / mean:.0%} of the floor's speed.\n")
    print("| operator | share of the step |\n|---|---|")
    for name, share in shares(step, arguments.steps + 1):
        print(f"| {name} | {share:.1%} |")


class Step:
    """One optimizer step of LoRA; returns computed tokens, labels, and pairs of tokens that see each other."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import burnish
        from burnish.prepare import prepare
        from burnish.training.batches import collate, epoch_order
        from burnish.training.objectives.sft import sft

        loaded = burnish.load_task(arguments.task)
        training = loaded.config.training
        base = burnish.load_model(loaded.config.model, dtype=arguments.dtype)
        prepared = prepare(loaded)
        full = (arguments.prompt or training.prompt) == "full"
        chat = burnish.Chat(base.tokenizer)
        rows = burnish.encode(
            prepared.split.train, prepared.task, chat, full=full, max_length=training.max_length
        ).rows
        self.model = burnish.attach_adapter(base.model, r=training.lora_r, alpha=training.lora_alpha, seed=0)
        self.model.train()
        self.dtype = base.dtype
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=1e-4, fused=True)
        self._losses = burnish.TokenLosses(self.model)
        order = epoch_order([row.tokens for row in rows], arguments.batch, 0, 0)
        self._steps = [[rows[i] for i in step] for step in order]
        self._collate, self._objective = collate, sft()

    def __call__(self, number: int) -> tuple[int, int, int]:
        items = self._steps[number % len(self._steps)]
        batch = self._collate(items, how=self._losses.how)
        normaliser = sum(self._objective.share(item) for item in items)
        loss = self._objective.loss(self._losses(batch), batch, items, normaliser=normaliser, shared=0)
        torch.autograd.backward(loss.value)
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return batch.tokens_RT.numel(), len(batch.targets_N), _pairs(batch)


def _pairs(batch: Any) -> int:
    """How many pairs of a token and one that it sees, itself included."""
    if batch.tree is None:
        rows, width = batch.tokens_RT.shape
        return int(rows * width * (width + 1) // 2)
    return int((batch.positions_RT + 1).sum())


def flops(model: Any, tokens: int, labels: int, pairs: int) -> dict[str, float]:
    """FLOP of one step, see above."""
    config, head = model.config, model.get_output_embeddings()
    names = {name: parameter for name, parameter in model.named_parameters() if parameter.dim() == 2}
    lora = sum(parameter.numel() for name, parameter in names.items() if "lora_" in name)
    tied = head.weight.data_ptr()
    linear = sum(
        parameter.numel()
        for name, parameter in names.items()
        if "lora_" not in name and "embed" not in name and parameter.data_ptr() != tied
    )
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return {
        "linear layers": 4.0 * linear * tokens,
        "LoRA": 6.0 * lora * tokens,
        "head": 4.0 * head.weight.numel() * labels,
        "attention": 7 * 2.0 * width * config.num_hidden_layers * pairs,
    }


def product_rate(dtype: torch.dtype) -> float:
    """FLOP/s of the best of five 2048³ products."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    best = 1e9
    for _ in range(6):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best


def shares(step: Step, first: int) -> list[tuple[str, float]]:
    """Operators' own time in three profiled steps, matrix products together, the rest one by one down to 1%."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        for number in range(first, first + 3):
            step(number)
    own = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    total = sum(own.values())
    products = sum(own.get(name, 0.0) for name in PRODUCTS)
    rest = sorted(((value / total, name) for name, value in own.items() if name not in PRODUCTS), reverse=True)
    shown = [(name.removeprefix("aten::"), share) for share, name in rest if share >= 0.01]
    left = 1 - products / total - sum(share for _, share in shown)
    return [("matrix products", products / total), *shown, ("all others", left)]


if __name__ == "__main__":
    main()
