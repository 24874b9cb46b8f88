"""What a device can hold and do: common GPUs by name, and this machine, measured."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from burnish.errors import ConfigError

GIB = 2**30
DType = Literal["float32", "bfloat16", "float16"]

# Python, PyTorch, transformers and peft with all they load for a training step, without a model: resident memory of
# the process on 2026-11-30, torch 2.13.0 for CPUs on Linux (benchmarks/estimate_memory.py).
CPU_PROCESS = 545 * 2**20
# Share of the probe's rate that a whole training step reaches on a CPU; measured as above.
CPU_EFFICIENCY = 0.6
# An assumption: what CUDA, its libraries and its kernels take on the device before the first tensor.
GPU_PROCESS = 600 * 2**20
# An assumption. torchtune's README tells of 8,210 tokens/s for LoRA on Llama-3.2-3B on an A100 and 2,413 for QLoRA
# on an 8B model on an RTX 4090: 0.34 and about 0.5 of the rated bfloat16 speed.
GPU_EFFICIENCY = 0.35
# An assumption: the same against the speed that large matrix products reach.
GPU_PROBE_EFFICIENCY = 0.5


@dataclass(frozen=True, slots=True)
class Device:
    """memory: bytes that can be used; flops: operations a second by number format, as the source rates or measures
    them; bandwidth: of its memory, bytes a second; watts: rated; efficiency: the share of flops that training
    reaches; process: bytes taken before the model is loaded; source: where the numbers are from; packing: bytes that
    packed weights may take there (models/packed.py)."""

    name: str
    kind: Literal["cpu", "gpu"]
    memory: int
    flops: Mapping[DType, float]
    bandwidth: float | None
    watts: float | None
    efficiency: float
    process: int
    source: str
    packing: int = 0

    @property
    def native_bf16(self) -> bool:
        """Whether it multiplies bfloat16 numbers in hardware."""
        return "bfloat16" in self.flops


class _Gpu(NamedTuple):
    """As the maker rates it. tera: dense TFLOP/s without sparsity, None where there is no bfloat16; tera_fp16: None
    where float16 is as fast as bfloat16."""

    memory_gb: int
    tera_bf16: float | None
    tera_fp32: float
    gb_per_s: float
    watts: int
    source: str
    tera_fp16: float | None = None


_AMPERE = "NVIDIA Ampere GA102 architecture paper"
_TWICE = "NVIDIA product page; bfloat16 at twice the float32 rate, as for other GeForce cards of its generation"
_GPUS: Mapping[str, _Gpu] = {
    "t4": _Gpu(16, None, 8.1, 320, 70, "NVIDIA T4 data sheet", 65),
    "v100-32gb": _Gpu(32, None, 15.7, 900, 300, "NVIDIA V100 data sheet (SXM2)", 125),
    "rtx-3060-12gb": _Gpu(12, 25.4, 12.7, 360, 170, _TWICE),
    "rtx-3080-10gb": _Gpu(10, 59.5, 29.8, 760, 320, _AMPERE),
    "rtx-3090": _Gpu(24, 71, 35.6, 936, 350, _AMPERE),
    "rtx-4070-12gb": _Gpu(12, 58.3, 29.1, 504, 200, _TWICE),
    "rtx-4080-16gb": _Gpu(16, 97.5, 48.7, 717, 320, "NVIDIA Ada GPU architecture paper"),
    "rtx-4090": _Gpu(24, 165.2, 82.6, 1008, 450, "NVIDIA Ada GPU architecture paper"),
    "rtx-5090": _Gpu(32, 209.5, 104.8, 1792, 575, "NVIDIA RTX Blackwell GPU architecture paper"),
    "a10": _Gpu(24, 125, 31.2, 600, 150, "NVIDIA A10 data sheet"),
    "a40": _Gpu(48, 149.7, 37.4, 696, 300, "NVIDIA A40 data sheet"),
    "l4": _Gpu(24, 121, 30.3, 300, 72, "NVIDIA L4 data sheet, half of the rate with sparsity"),
    "l40s": _Gpu(48, 362, 91.6, 864, 350, "NVIDIA L40S data sheet"),
    "rtx-a6000": _Gpu(48, 154.8, 38.7, 768, 300, "NVIDIA RTX A6000 data sheet, half of the rate with sparsity"),
    "rtx-6000-ada": _Gpu(48, 364.2, 91.1, 960, 300, "NVIDIA RTX 6000 Ada data sheet, half of the rate with sparsity"),
    "a100-40gb": _Gpu(40, 312, 19.5, 1555, 400, "NVIDIA A100 data sheet (SXM)"),
    "a100-80gb": _Gpu(80, 312, 19.5, 2039, 400, "NVIDIA A100 data sheet (SXM)"),
    "h100-80gb": _Gpu(80, 989, 67, 3350, 700, "NVIDIA H100 data sheet (SXM), half of the rate with sparsity"),
    "h100-pcie": _Gpu(80, 756, 51, 2000, 350, "NVIDIA H100 data sheet (PCIe), half of the rate with sparsity"),
    "h200": _Gpu(141, 989, 67, 4800, 700, "NVIDIA H200 data sheet (SXM), half of the rate with sparsity"),
    "mi300x": _Gpu(192, 1307.4, 163.4, 5300, 750, "AMD Instinct MI300X data sheet"),
}
# An assumption: what the driver and the rounding of "GB" leave of the rated memory.
USABLE = 0.96


def gpu_names() -> tuple[str, ...]:
    """The catalogue's names."""
    return tuple(_GPUS)


def named_gpu(name: str) -> Device:
    """A GPU of the catalogue; upper case, blanks and a leading "NVIDIA" do not matter.

    Raises ConfigError with the nearest names.
    """
    plain = "-".join(name.lower().replace("nvidia", " ").replace("_", " ").replace("-", " ").split())
    found = [key for key in _GPUS if plain in (key, key.removesuffix("gb").rpartition("-")[0] or key)]
    if len(found) != 1 and plain not in found:
        near = found or difflib.get_close_matches(plain, _GPUS, n=3, cutoff=0.5)
        near += [key for key in _GPUS if plain and plain in key and key not in near]
        hint = f"did you mean {' or '.join(near[:3])}? " if near else ""
        raise ConfigError(
            "no GPU of the catalogue has this name", got=name, where="--on", fix=f"{hint}known: {', '.join(_GPUS)}"
        )
    key = plain if plain in found else found[0]
    gpu = _GPUS[key]
    flops: dict[DType, float] = {"float32": gpu.tera_fp32 * 1e12}
    if gpu.tera_bf16 is not None:
        flops["bfloat16"] = gpu.tera_bf16 * 1e12
    flops["float16"] = (gpu.tera_fp16 or gpu.tera_bf16 or gpu.tera_fp32) * 1e12
    return Device(
        name=key,
        kind="gpu",
        memory=int(gpu.memory_gb * GIB * USABLE),
        flops=flops,
        bandwidth=gpu.gb_per_s * 1e9,
        watts=gpu.watts,
        efficiency=GPU_EFFICIENCY,
        process=GPU_PROCESS,
        source=gpu.source,
    )


def _formats(native_bf16: bool, float16: bool) -> list[DType]:
    found: list[DType] = ["float32"]
    found += ["bfloat16"] if native_bf16 else []
    return [*found, "float16"] if float16 else found


def this_machine(*, float16: bool = False) -> Device:
    """The device that training would take here, its speed measured by matrix products for about half a second.

    float16: of these numbers, too.
    """
    import psutil
    import torch

    from burnish.models.device import detect
    from burnish.models.packed import packing_limit, packs

    found = detect()
    if found.device == "cuda":
        return _this_gpu(found.native_bf16, float16)
    threads = torch.get_num_threads()
    return Device(
        name=f"this machine ({found.device}, {threads} thread{'s' if threads > 1 else ''})",
        kind="cpu",
        memory=int(psutil.virtual_memory().available),
        flops={name: measured_flops(found.device, name) for name in _formats(found.native_bf16, float16)},
        bandwidth=None,
        watts=None,
        efficiency=CPU_EFFICIENCY,
        process=CPU_PROCESS,
        source="measured now: matrix products, and the memory that is free",
        packing=packing_limit() if found.device == "cpu" and packs(torch.float32) else 0,
    )


def _this_gpu(native_bf16: bool, float16: bool) -> Device:
    import torch

    properties = torch.cuda.get_device_properties(0)
    try:
        watts = named_gpu(properties.name).watts
    except ConfigError:
        watts = None
    return Device(
        name=f"this machine ({properties.name})",
        kind="gpu",
        memory=int(torch.cuda.mem_get_info()[0]),
        flops={name: measured_flops("cuda", name) for name in _formats(native_bf16, float16)},
        bandwidth=None,
        watts=watts,
        efficiency=GPU_PROBE_EFFICIENCY,
        process=GPU_PROCESS,
        source="measured now: matrix products, and the memory that is free",
    )


def measured_flops(
    device: str, dtype: DType, seconds: float = 0.25, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Operations a second of products of 512 × 1024 by 1024 × 1024 matrices (4096 each way on a GPU); the fastest
    counts. seconds: how long to go on at least."""
    import torch

    M, K, N = (512, 1024, 1024) if device == "cpu" else (4096, 4096, 4096)
    kind = getattr(torch, dtype)
    a, b = torch.ones(M, K, dtype=kind, device=device), torch.ones(K, N, dtype=kind, device=device)
    best, spent = float("inf"), 0.0
    rounds = 0
    while spent < seconds or rounds < 5:
        began = clock()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        took = max(clock() - began, 1e-9)
        rounds += 1
        spent += took
        if rounds > 2:  # the first ones find their kernels and memory
            best = min(best, took)
    return 2 * M * K * N / best
