"""Memory, time and energy of a training, by arithmetic: nothing is loaded.

docs/estimate.md has the formulas in words, and benchmarks/estimate_memory.py compares them with measured peaks.
Widths: D of the residual stream, Q of all query heads, K of all key heads, F of the feed-forward part; V tokens in
the vocabulary; N tokens in the largest forward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from burnish.config import TrainingConfig
from burnish.errors import ConfigError
from burnish.models.cross_entropy import CHUNK_ELEMENTS, CHUNK_ELEMENTS_GPU
from burnish.models.packed import LEAST
from burnish.training.devices import Device, DType
from burnish.training.shapes import ModelShape
from burnish.training.split_weights import PART as SPLIT_PART

Method = Literal["lora", "qlora", "dora", "ia3", "bottleneck", "prefix_tuning", "prompt_tuning", "full"]
METHODS: tuple[Method, ...] = get_args(Method)
Optimizer = Literal["adamw", "adamw_8bit"]

WIDTHS: dict[DType, int] = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of a number

# 4-bit NormalFloat in blocks of 64, an 8-bit scale for each block, and a 32-bit scale for 256 of these
# (Dettmers et al. 2023, section 3, "Double Quantization": 0.127 bits a weight instead of 0.5).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
# 8-bit Adam (Dettmers et al. 2022, section 2): two states of a byte, each with a 32-bit scale for 256 numbers, the
# block of bitsandbytes.
ADAM_8BIT_BYTES = 2 * (1 + 4 / 256)
# What glibc's allocator cannot use again, as a share of the activations: freed blocks do not serve aligned requests
# of their own size. The second where passes differ in size, as those of real rows do. Measured with glibc 2.36
# (benchmarks/estimate_memory.py, on random rows of one length and on tasks); with every block mapped by itself it is
# 0.03, at the price of time.
CPU_ALLOCATOR = 0.40
CPU_ALLOCATOR_VARIED = 0.85
# The same with gradient checkpointing, where every block is mapped by itself (models/device.py:mapped_blocks).
CPU_ALLOCATOR_MAPPED = 0.03
# oneDNN's code for the products of one size of a pass (34 in a step of LoRA on all linear layers, 16 of them packed;
# in float32 only these are oneDNN's), and of how many products it keeps the code.
CODE_BYTES = 0.55 * 2**20
CODE_OF_SIZE: dict[DType, int] = {"float32": 16, "bfloat16": 34, "float16": 34}
CODE_KEPT = 1024
# An assumption: what PyTorch's caching allocator for GPUs loses in its blocks.
GPU_ALLOCATOR = 0.05
# Families whose attention keeps keys and values once for all query heads that read them: on a CPU beside the queries
# alone (models/attention.py), on a GPU with the output, which its kernels want (models/gpu_attention.py). In others
# keys and values are repeated for every query head.
_GROUPED = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "granite", "olmo2"})

# Families whose decoder layers with LoRA everywhere compute in two operations (models/fused_layers.py).
_KEPT = frozenset({"v_proj", "gate_proj", "up_proj", "gate_up_proj"})  # layers whose outputs are kept anyway
_FUSED = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


Attention = Literal["own", "kernel", "repeated"]


def attention_on(shape: ModelShape, device: Device) -> Attention:
    """own: over trees, on a CPU; kernel: of a GPU, with grouped heads; repeated: transformers' own."""
    if not passes_plans(shape):
        return "repeated"
    return "own" if device.kind == "cpu" else "kernel"


def passes_plans(shape: ModelShape) -> bool:
    """Whether the family's layers pass on to the attention how a tree is packed."""
    return shape.family in _GROUPED


def dtype_on(device: Device) -> DType:
    """What `training.dtype: auto` means there: bfloat16 if native, else float32."""
    return "bfloat16" if device.native_bf16 else "float32"


@dataclass(frozen=True, slots=True)
class Setup:
    """What is trained, and how. dtype: of weights and activations; adapters are float32 whatever it is.

    gradient_checkpointing: of so many layers one is computed again in the backward pass (Chen et al. 2016; True:
    each, False: none). devices: weights, gradients and optimizer states are cut into so many parts (Rajbhandari et
    al. 2020, stage 3), and each device computes its share of the rows. dropout: of what LoRA reads.
    """

    method: Method = "lora"
    r: int = 16
    modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    dtype: DType = "float32"
    optimizer: Optimizer = "adamw"
    bottleneck: int = 64
    virtual_tokens: int = 20
    gradient_checkpointing: int = False
    devices: int = 1
    dropout: bool = False


def setup_of(settings: TrainingConfig) -> Setup:
    """What a task's settings train, and how, on one device; the number format is the device's."""
    modules = settings.lora_target_modules
    return Setup(
        method=settings.method,
        r=settings.lora_r,
        modules=modules if isinstance(modules, str) else tuple(modules),
        optimizer=settings.optimizer,
        gradient_checkpointing=settings.gradient_checkpointing,
        bottleneck=settings.bottleneck_size,
        virtual_tokens=settings.virtual_tokens,
        dropout=settings.lora_dropout > 0,
    )


class Work(NamedTuple):
    """What has to be computed. tokens, labelled: of the largest forward pass on one device, what is shared counted
    once; passes: forward passes in the largest step; steps: of the optimizer.

    all_tokens, all_labelled, all_pairs, all_passes: of the whole training, without the backward passes; pairs are
    query and key that attention multiplies. sizes: how many different numbers of tokens the passes have, padding
    included (models/padding.py).
    """

    tokens: int
    labelled: int
    passes: int
    steps: int
    all_tokens: float
    all_labelled: float
    all_pairs: float
    all_passes: float
    sizes: int = 1


class Memory(NamedTuple):
    """Bytes on one device at the peak, by part; they add up to the peak.

    blocks: frozen weights once more, in the layout of the processor's products and transposed (models/packed.py);
    code: for each size of its products, what a CPU's library made of it;
    adapter: what is trained beside the weights; restored: the best adapter read back at the end; loading: what the
    peak while reading the weights exceeds all of these by.
    """

    weights: float
    blocks: float
    code: float
    adapter: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    allocator: float
    process: float
    restored: float
    loading: float

    @property
    def total(self) -> float:
        """The peak."""
        return sum(self)


class Estimate(NamedTuple):
    """parameters: of the model; trained: of these or beside them; flops: operations of the whole training;
    seconds, kwh: None where the device's speed or power is not known. kwh is an upper estimate: rated power
    throughout, on all devices."""

    parameters: int
    trained: int
    memory: Memory
    flops: float
    seconds: float
    kwh: float | None


def trained_parameters(shape: ModelShape, setup: Setup) -> int:
    """How many numbers are trained."""
    chosen = shape.chosen(setup.modules)
    D, K = shape.hidden, shape.key_width
    match setup.method:
        case "full":
            return shape.parameters
        case "lora" | "qlora":
            return shape.layers * setup.r * sum(linear.inputs + linear.outputs for linear in chosen)
        case "dora":
            ranks = setup.r * sum(linear.inputs + linear.outputs for linear in chosen)
            return shape.layers * (ranks + sum(linear.outputs for linear in chosen))
        case "ia3":
            return shape.layers * sum(_ia3(shape, setup).values())
        case "bottleneck":
            size = setup.bottleneck
            return shape.layers * 2 * (2 * D * size + size + D)
        case "prefix_tuning":
            return setup.virtual_tokens * shape.layers * 2 * K
        case "prompt_tuning":
            return setup.virtual_tokens * D


def _ia3(shape: ModelShape, setup: Setup) -> dict[str, int]:
    """Factors by layer name: outputs of keys and values, inputs of the layer that leads back (Liu et al. 2022)."""
    usual = ("k_proj", "v_proj", "down_proj")
    names = usual if setup.modules == "all-linear" else setup.modules
    return {
        linear.name: linear.inputs if linear.name == "down_proj" else linear.outputs
        for linear in shape.chosen("all-linear")
        if linear.name in names
    }


def _fused(shape: ModelShape, setup: Setup) -> bool:
    """Whether decoder layers compute in two operations (models/fused_layers.py)."""
    known = setup.method in ("lora", "dora") and shape.family in _FUSED
    return known and setup.devices == 1  # weights that are cut move about


def activation_bytes(shape: ModelShape, setup: Setup, attention: Attention) -> float:
    """Bytes that one decoder layer keeps of one token for the backward pass.

    Counted from what autograd saves, each tensor once (tests/training/test_estimate.py compares):
    the inputs of the norms (in float32), of every linear layer that is trained or has an adapter, and A x of each
    adapter; rotated queries, keys and values; gate, its SiLU and up.
    """
    width = WIDTHS[setup.dtype]
    D, Q, K, F = shape.hidden, shape.query_width, shape.key_width, shape.intermediate
    method = setup.method
    head_norms = shape.head_norms != "none"
    read = 3 * Q if attention == "repeated" else Q + 2 * K
    sums = 4 * Q // shape.head_dim if attention == "kernel" else 0  # of each head's scores, in float32
    full, ranks = method == "full", method in ("lora", "qlora", "dora")
    chosen = shape.linears if full else shape.chosen(setup.modules) if ranks else ()
    names = {linear.name for linear in chosen}
    inputs = 0  # what they read, but for the layer behind attention
    inputs += D if names & {"q_proj", "k_proj", "v_proj", "qkv_proj"} else 0
    inputs += D if names & {"gate_proj", "up_proj", "gate_up_proj"} else 0
    inputs += F if "down_proj" in names else 0
    beside = setup.r * len(chosen) if ranks else 0
    fused = _fused(shape, setup)
    if method == "dora":  # outputs that magnitudes scale
        anyway = _KEPT | ({"q_proj", "k_proj"} if fused and head_norms else set())
        beside += sum(linear.outputs for linear in chosen if linear.name not in anyway)
    if fused:
        # The layer's input, what attention keeps and gives, the sum of both, and gate, its sigmoid and up.
        heads = (Q + K) if head_norms else 0
        dropped = inputs + (Q if "o_proj" in names else 0) if setup.dropout else 0  # a byte for each number
        roots = 4 * (2 + heads // shape.head_dim)
        return width * (2 * D + read + Q + 3 * F + heads + beside) + dropped + roots + sums
    norms = (shape.norms * D + (Q + K if head_norms else 0)) * (4 + (width if full else 0))
    given = Q if "o_proj" in names or attention != "own" else 0
    dropped = sum(linear.inputs for linear in chosen) if setup.dropout and not full else 0
    if method == "ia3":
        beside += sum(_ia3(shape, setup).values())
    extra = 0
    if method == "bottleneck":  # always in float32: its input, and the hidden units before and after GELU
        extra = 2 * 4 * (2 * setup.bottleneck + (D if width == 2 else 0)) + 2 * width * D
    return norms + width * (inputs + read + given + 3 * F + beside) + dropped + extra + sums


def _computed_again(shape: ModelShape, setup: Setup) -> int:
    """How many layers keep their input alone."""
    return math.ceil(shape.layers / setup.gradient_checkpointing) if setup.gradient_checkpointing else 0


def _working_bytes(shape: ModelShape, setup: Setup, tokens: float) -> float:
    """Gradients of one layer's activations while its backward pass runs, and a weight in full while it is used."""
    width = WIDTHS[setup.dtype]
    passing = tokens * width * (4 * shape.intermediate + 2 * shape.hidden)
    unpacked = width * max(linear.weights for linear in shape.linears) if setup.method == "qlora" else 0
    return passing + unpacked


def _logits_bytes(shape: ModelShape, setup: Setup, labelled: int, device: Device) -> float:
    """Scores over the vocabulary of a full part (models/cross_entropy.py), in float32 and in the weights' format."""
    most = max(1, (CHUNK_ELEMENTS if device.kind == "cpu" else CHUNK_ELEMENTS_GPU) // shape.vocabulary)
    rows = min(labelled, most)
    return float(rows * shape.vocabulary * (4 if setup.dtype == "float32" else 6))


def _blocks_bytes(shape: ModelShape, setup: Setup, device: Device) -> float:
    """What packed weights take: all linear layers that are neither trained, cut nor in 4 bits, and the head."""
    if setup.method == "full" or setup.devices > 1 or setup.dtype == "float16":
        return 0.0
    sizes = [] if setup.method == "qlora" else [linear.weights for linear in shape.linears] * shape.layers
    sizes.append(shape.vocabulary * shape.hidden)
    needed = 2 * WIDTHS[setup.dtype] * sum(size for size in sizes if size >= LEAST)
    return float(needed) if needed <= device.packing else 0.0


def _code_bytes(setup: Setup, work: Work) -> float:
    """oneDNN's code for products of all sizes, as much of it as is kept."""
    return CODE_BYTES * min(CODE_KEPT, work.sizes * CODE_OF_SIZE[setup.dtype])


def _lost_share(setup: Setup, work: Work, device: Device) -> float:
    """What the allocator cannot use again, as a share of the activations."""
    if device.kind != "cpu":
        return GPU_ALLOCATOR
    if setup.gradient_checkpointing:
        return CPU_ALLOCATOR_MAPPED
    return CPU_ALLOCATOR if work.sizes <= 2 else CPU_ALLOCATOR_VARIED  # an epoch's last step may be smaller


def _kept_bytes(shape: ModelShape, setup: Setup, work: Work, device: Device) -> float:
    """Activations when the loss is known."""
    width = WIDTHS[setup.dtype]
    per_layer = activation_bytes(shape, setup, attention_on(shape, device))
    around = (shape.hidden * (4 + width) + 2 * width * shape.head_dim + 16) + 2 * width * shape.hidden * min(
        1.0, work.labelled / work.tokens
    )
    again = _computed_again(shape, setup)
    layers = again * width * shape.hidden + (shape.layers - again + min(again, 1)) * per_layer
    return work.tokens * (layers + around) + _working_bytes(shape, setup, work.tokens)


class _Trained(NamedTuple):
    """Bytes of what is trained: a weight, its gradient and its optimizer state, and what a step of the optimizer has
    in float32 at once. Weights in 16 bits have their lower bits in the state (training/split_weights.py); cut over
    devices they are float32 themselves."""

    weight: float
    gradient: float
    state: float
    stepping: float


def _trained_bytes(shape: ModelShape, setup: Setup, work: Work) -> _Trained:
    moments = 8.0 if setup.optimizer == "adamw" else ADAM_8BIT_BYTES
    if setup.method != "full" or setup.dtype == "float32" or setup.devices > 1:
        return _Trained(4, 4, moments, 0.0)
    most = min(trained_parameters(shape, setup), max(SPLIT_PART, shape.vocabulary * shape.hidden))
    once = setup.dtype == "bfloat16" and work.passes == 1  # gradients that are added up or scaled are float32
    return _Trained(2, 2 if once else 4, moments + 2, 8.0 * most)


def memory_of(shape: ModelShape, setup: Setup, work: Work, device: Device) -> Memory:
    """Peak memory of one device, by part.

    On a CPU: of the whole process. Activations peak when the loss is known; a trained embedding has its gradients
    then, once from the head and once added up, and all others take the room that activations give back. With more
    than one pass a step, those of the passes before are there as well.
    """
    width = WIDTHS[setup.dtype]
    cpu = device.kind == "cpu"
    full = setup.method == "full"
    trained, parameters = trained_parameters(shape, setup), shape.parameters
    each = _trained_bytes(shape, setup, work)
    packed = shape.linear_weights if setup.method == "qlora" else 0
    weights = (packed * NF4_BITS / 8 + (parameters - packed) * (each.weight if full else width)) / setup.devices
    if setup.devices > 1:  # two layers in full: the one that is computed and the next
        weights += 2 * width * shape.linear_weights / shape.layers
    activations, gradients = _kept_bytes(shape, setup, work, device), trained * each.gradient / setup.devices
    late = max(_working_bytes(shape, setup, work.tokens), each.stepping)  # with all gradients, the activations gone
    if full and work.passes == 1:
        early = shape.vocabulary * shape.hidden * (4 + each.gradient) / setup.devices
        if activations + early < gradients + late:
            activations = late
        else:
            gradients = early
    activations = max(activations, each.stepping)
    memory = Memory(
        weights=weights,
        blocks=_blocks_bytes(shape, setup, device),
        code=_code_bytes(setup, work) if cpu else 0.0,
        adapter=0.0 if full else 4.0 * trained / setup.devices,
        gradients=gradients,
        optimizer=trained * each.state / setup.devices,
        activations=activations,
        logits=_logits_bytes(shape, setup, work.labelled, device),
        allocator=_lost_share(setup, work, device) * activations,
        process=float(device.process),
        restored=float(trained * (width if full else 4)) if cpu else 0.0,
        loading=0.0,
    )
    # While weights are read, the file lies in memory beside them: two bytes a number.
    loading = device.process + weights + 2 * parameters - memory.total if cpu else 0.0
    return memory._replace(loading=max(0.0, loading))


def flops_of(shape: ModelShape, setup: Setup, work: Work) -> float:
    """Operations of the whole training: two for each multiplication with an addition (Kaplan et al. 2020, section
    2.1), forward and backward, with what Burnish does not compute left out.

    Linear layers: 2 a weight and token forward, 2 backward for the inputs' gradients, and 2 for the weights' where
    they are trained. The head: at labelled tokens only, scores and their gradient in the forward pass. Attention:
    2 products forward; 5 backward, since the scores are computed again.
    """
    linear = 2.0 * shape.linear_weights * work.all_tokens
    head = 2.0 * shape.vocabulary * shape.hidden * work.all_labelled
    attention = 2.0 * shape.query_width * shape.layers * work.all_pairs
    full = setup.method == "full"
    again = _computed_again(shape, setup) / shape.layers
    total = linear * ((3 if full else 2) + again) + head * (4 if full else 2) + attention * (7 + 2 * again)
    if not full:
        total += 6.0 * trained_parameters(shape, setup) * work.all_tokens
    return total


def estimate(shape: ModelShape, setup: Setup, work: Work, device: Device) -> Estimate:
    """Memory, time and energy of a training on this device (or on `setup.devices` of them).

    Time is the operations over the device's sustained speed, and no less than it takes to read all weights twice a
    pass. Validation and evaluation are not in it. Raises ConfigError when the device lacks the number format.
    """
    if setup.dtype not in device.flops:
        raise ConfigError(
            f"{device.name} does not multiply {setup.dtype} numbers in hardware",
            got=setup.dtype,
            where="training.dtype",
            fix=f"use dtype: {' or '.join(device.flops)}",
        )
    flops = flops_of(shape, setup, work)
    memory = memory_of(shape, setup, work, device)
    seconds = flops / (device.flops[setup.dtype] * device.efficiency * setup.devices)
    if device.bandwidth:
        seconds = max(seconds, 2 * memory.weights * work.all_passes / setup.devices / device.bandwidth)
    kwh = None if device.watts is None else device.watts * setup.devices * seconds / 3.6e6
    return Estimate(shape.parameters, trained_parameters(shape, setup), memory, flops, seconds, kwh)
