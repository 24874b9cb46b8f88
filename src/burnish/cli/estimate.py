"""`burnish estimate`: what a training takes, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

import typer

from burnish.cli.options import AllowBadRows, AsJson, Overrides
from burnish.cli.shell import print_json, show
from burnish.errors import ConfigError

if TYPE_CHECKING:
    from burnish.training.devices import Device
    from burnish.training.estimate import Estimate, Setup, Work
    from burnish.training.shapes import ModelShape

Method = Literal["lora", "qlora", "dora", "ia3", "bottleneck", "prefix_tuning", "prompt_tuning", "full"]
DType = Literal["auto", "float32", "bfloat16", "float16"]


class Question(NamedTuple):
    """What is to be estimated: work_at gives the work for a token budget and a device. rows, tokens: of one epoch of
    a task, every row in full; answer: labelled ones among them. passages: in words, what stands before the inputs."""

    shape: ModelShape
    setup: Setup
    dtype: DType
    tokens_per_batch: int
    work_at: Callable[[int, Device], Work]
    rows: int = 0
    tokens: int = 0
    answer: int = 0
    passages: str | None = None


def estimate(
    context: typer.Context,
    task: Annotated[
        Path | None,
        typer.Argument(metavar="[TASK]", help="A task file, or the folder of a burnish.yaml.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Without a task: folder, .gguf, hub id, llama-3.1-8b."),
    ] = None,
    method: Annotated[Method, typer.Option("--method", help="Without a task: what is trained.")] = "lora",
    rank: Annotated[int, typer.Option("--rank", min=1, help="Without a task: of the adapter.")] = 16,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Without a task: examples a step.")] = 16,
    length: Annotated[int, typer.Option("--length", min=2, help="Without a task: tokens of a row.")] = 512,
    answer: Annotated[
        int | None, typer.Option("--answer", min=1, help="Without a task: labelled tokens of a row (a quarter).")
    ] = None,
    prefix: Annotated[int, typer.Option("--prefix", min=0, help="Without a task: tokens that all rows share.")] = 0,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Without a task: examples to train on.")] = 1000,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01, help="Without a task: passes over the rows.")] = 3,
    tokens_per_batch: Annotated[
        int, typer.Option("--tokens-per-batch", min=64, help="Without a task: token budget of a forward pass.")
    ] = 4096,
    dtype: Annotated[DType, typer.Option("--dtype", help="Without a task: number format.")] = "auto",
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="GPU", help="A GPU by name: rtx-4090, a100-80gb (default: this machine)."),
    ] = None,
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="Without a task: weights and states are cut over so many.")
    ] = 1,
    optimizer: Annotated[
        Literal["adamw", "adamw_8bit"], typer.Option("--optimizer", help="Without a task: its moments' size.")
    ] = "adamw",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Without a task: compute layers again for gradients.")
    ] = False,
    watts: Annotated[
        float | None, typer.Option("--watts", min=0, help="Power of the device, for the energy.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Propose settings that fit the memory.")] = False,
    as_json: AsJson = False,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> int:
    """Say what a training takes: parameters, memory by part, time, energy. No weights are loaded.

    Of a task, with the real lengths of its rows, or of a model and numbers given as options.
    Exit status: 0 when it fits (with --fit: when something does), 1 when not.
    """
    from burnish.training.devices import named_gpu, this_machine
    from burnish.training.estimate import Setup
    from burnish.training.shapes import model_shape

    if task is not None:
        _only_for_a_task(context)
        question = of_task(task, overrides or [], allow_bad_rows, as_json)
    elif model is None or overrides:
        fix = "burnish estimate TASK, or burnish estimate --model llama-3.1-8b --method qlora"
        raise ConfigError("a task is needed" if overrides else "a task or a model is needed", where="TASK", fix=fix)
    else:
        setup = Setup(method, rank, optimizer=optimizer, devices=devices)
        setup = replace(setup, gradient_checkpointing=gradient_checkpointing)
        sizes = {"rows": rows, "length": length, "batch_size": batch, "num_epochs": epochs, "prefix": prefix}
        work_at = _uniform(sizes, answer, devices)
        question = Question(model_shape(model), setup, dtype, tokens_per_batch, work_at)
    device = named_gpu(on) if on else this_machine(float16=question.dtype == "float16")
    device = device if watts is None else replace(device, watts=watts)
    record, fits = _answer(question, question.setup, device, fitting=fit)
    if as_json:
        print_json(record)
    else:
        from burnish.reports.estimates import estimate_view

        show(estimate_view(record))
    return 0 if fits else 1


def _only_for_a_task(context: typer.Context) -> None:
    """Options that a task file answers are refused beside it, rather than ignored."""
    for parameter in context.command.params:
        words = getattr(parameter, "help", None) or ""
        given = context.get_parameter_source(str(parameter.name))
        if words.startswith("Without a task") and given is not None and given.name == "COMMANDLINE":
            name = parameter.opts[0]
            fix = "leave it out, or change the task's setting: --set training.lora_r=32"
            raise ConfigError("a task file says this by itself", where=name, fix=fix)


def _uniform(sizes: dict[str, Any], answer: int | None, devices: int) -> Callable[[int, Device], Work]:
    """Rows of equal length. Raises ConfigError for lengths that contradict each other."""
    from burnish.training.work import uniform_work

    length, prefix = sizes["length"], sizes["prefix"]
    if prefix >= length or (answer or 1) > length - prefix:
        where = "--prefix" if prefix >= length else "--answer"
        got = prefix if prefix >= length else answer
        raise ConfigError("longer than the row leaves room for", got=got, where=where, fix=f"--length is {length}")
    return lambda tokens, _: uniform_work(**sizes, answer=answer, tokens_per_batch=tokens, devices=devices)


def of_task(task: Path, overrides: list[str], allow_bad_rows: int, quiet: bool) -> Question:
    """The task's settings, and its training rows as its model's tokenizer cuts them."""
    from burnish.config import load_task
    from burnish.models.chat import Chat
    from burnish.models.load import load_tokenizer
    from burnish.prepare import prepare
    from burnish.reports.terminal import TerminalProgress
    from burnish.searching import as_trained, most_passages, passages_of_task
    from burnish.systems.retrieval import WordSearch
    from burnish.tasks.preference import answers_think
    from burnish.training.encode import encode, refuse_too_long
    from burnish.training.estimate import setup_of
    from burnish.training.objectives.make import make_objective
    from burnish.training.shapes import model_shape
    from burnish.training.work import layout_on, work_of_items

    loaded = load_task(task, overrides)
    config, settings = loaded.config, loaded.config.training
    with TerminalProgress(quiet=quiet) as progress:
        for notice in loaded.notices:
            progress.notice(notice)
        shape = model_shape(config.model, loaded.base_dir)
        prepared = prepare(loaded, allow_bad_rows=allow_bad_rows, progress=progress)
        thinks = answers_think(prepared.task, prepared.split.train)
        chat = Chat(load_tokenizer(config.model, base_dir=loaded.base_dir, progress=progress), thinks=thinks)
        # By words alone, which needs no embedding model.
        shown = as_trained(loaded, prepared.task, chat, lambda: WordSearch(passages_of_task(config, progress)))
        rows = shown(prepared.split.train)
    limit = min(settings.max_length, shape.context)
    full = settings.prompt == "full"
    encoding = encode(
        rows,
        prepared.task,
        chat,
        full=full,
        max_length=limit,
        objective=settings.objective,
        turns=settings.train_on,
    )
    refuse_too_long(encoding, max_length=limit, max_dropped=settings.max_dropped)

    def work_at(tokens: int, device: Device) -> Work:
        return work_of_items(
            encoding.rows,
            batch_size=settings.batch_size,
            tokens_per_batch=tokens,
            num_epochs=settings.num_epochs,
            max_steps=settings.max_steps,
            seed=config.seed,
            how=layout_on(device, shape),
            trained=make_objective(settings.objective).trained,
            share=settings.shared_prefix == "auto",
        )

    tokens, answer = (sum(getattr(item, name) for item in encoding.rows) for name in ("tokens", "labelled"))
    found = None
    if settings.context == "retrieved":
        found = f"{most_passages(config)}, found by words alone; training searches by meaning too"
    budget, count = settings.tokens_per_batch, len(encoding.rows)
    return Question(shape, setup_of(settings), settings.dtype, budget, work_at, count, tokens, answer, found)


def _answer(question: Question, setup: Setup, device: Device, *, fitting: bool) -> tuple[dict[str, Any], bool]:
    """The record that is shown, and whether it fits."""
    from burnish.config import TrainingConfig
    from burnish.training.estimate import dtype_on, estimate
    from burnish.training.fit import fit

    shape, tokens = question.shape, question.tokens_per_batch
    wanted = question.dtype
    setup = replace(setup, dtype=dtype_on(device) if wanted == "auto" else wanted)

    def work_at(budget: int) -> Work:
        return question.work_at(budget, device)

    work = work_at(tokens)
    found = estimate(shape, setup, work, device)
    fits = found.memory.total <= device.memory
    record = _record(question, setup, device, work, found) | {"fits": fits}
    if not fitting:
        return record, fits
    known = get_args(TrainingConfig.model_fields["method"].annotation)
    fitted = fit(shape, setup, work_at, device, tokens_per_batch=tokens, methods=known)
    lines = []
    if fitted.setup.method != setup.method:
        lines.append(f"method: {fitted.setup.method}")
    if fitted.setup.gradient_checkpointing and not setup.gradient_checkpointing:
        lines.append("gradient_checkpointing: true")
    if fitted.tokens_per_batch != tokens:
        lines.append(f"tokens_per_batch: {fitted.tokens_per_batch}")
    record["fit"] = {
        "fits": fitted.fits,
        "method": fitted.setup.method,
        "gradient_checkpointing": fitted.setup.gradient_checkpointing,
        "tokens_per_batch": fitted.tokens_per_batch,
        "settings": ["training:", *(f"  {line}" for line in lines)] if lines else [],
        "total": fitted.estimate.memory.total,
        "seconds": fitted.estimate.seconds,
    }
    return record, fitted.fits


def _record(question: Question, setup: Setup, device: Device, work: Work, found: Estimate) -> dict[str, Any]:
    return {
        "model": question.shape.name,
        "method": setup.method,
        "dtype": setup.dtype,
        "optimizer": setup.optimizer,
        "gradient_checkpointing": setup.gradient_checkpointing,
        "devices": setup.devices,
        "tokens_per_batch": question.tokens_per_batch,
        "parameters": found.parameters,
        "trained_parameters": found.trained,
        "memory": {part: round(size) for part, size in found.memory._asdict().items()}
        | {"total": round(found.memory.total)},
        "work": work._asdict(),
        "passages": question.passages,
        "flops": found.flops,
        "seconds": found.seconds,
        "kwh": found.kwh,
        "device": {
            "name": device.name,
            "memory": device.memory,
            "flops": device.flops[setup.dtype],
            "efficiency": device.efficiency,
            "watts": device.watts,
            "source": device.source,
        },
    }
