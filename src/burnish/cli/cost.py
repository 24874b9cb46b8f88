"""`burnish cost`: what training, data and requests cost, and when a tuned model has paid for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from burnish.cli.options import RUNS_DIR, AllowBadRows, AsJson, Overrides, RunsDir
from burnish.cli.shell import print_json, show
from burnish.errors import BurnishError, ConfigError

if TYPE_CHECKING:
    from burnish.advice.cost_report import CostInputs, CostReport, SystemUse
    from burnish.cli.estimate import Question
    from burnish.config import TaskConfig
    from burnish.training.devices import Device

DEVICES = ("l4", "a100-80gb", "h100-80gb")
APIS = ("gpt-4o-mini", "llama-3.1-8b")
CANDIDATE = "tuned"
SETUP = 600.0  # an assumption: seconds to start a rented machine, install, and fetch the model


class _Job(NamedTuple):
    """What was found of a task or a run. seconds: of its training here, None where it was not measured; question:
    what the estimate of other places needs, None where the model is not known."""

    name: str
    config: TaskConfig
    rows: int
    labelled: int
    tokens: float
    systems: list[SystemUse]
    seconds: float | None
    question: Question | None


def cost(
    what: Annotated[str, typer.Argument(metavar="[TASK|RUN]", help="A task file or folder, or a run.")] = "latest",
    requests_per_day: Annotated[
        float | None,
        typer.Option("--requests-per-day", metavar="N", min=0, help="Default: context.requests_per_day."),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="GPU", help="Train on this GPU by the hour. Repeatable.")
    ] = None,
    api: Annotated[
        list[str] | None, typer.Option("--api", metavar="MODEL", help="Train at this hosted model. Repeatable.")
    ] = None,
    serve: Annotated[
        str, typer.Option("--serve", metavar="WHERE", help="Where systems answer: here, gpu/l4, api/gpt-4o-mini.")
    ] = "here",
    train_at: Annotated[
        str | None, typer.Option("--train-at", metavar="WHERE", help="Whose training break-even counts.")
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option("--system", metavar="NAME=IN,OUT[@WHERE]", help="Tokens of a system's requests. Repeatable."),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="Your prices, over the built-in ones.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option("--price", metavar="ITEM=VALUE", help="One price: gpu/l4=0.7. Repeatable.")
    ] = None,
    minutes_per_row: Annotated[float | None, typer.Option("--minutes-per-row", min=0, help="Work on a row.")] = None,
    wage: Annotated[float | None, typer.Option("--wage", min=0, help="USD an hour of it.")] = None,
    watts: Annotated[float | None, typer.Option("--watts", min=0, help="Power of this machine at work.")] = None,
    machine_price: Annotated[
        float | None, typer.Option("--machine-price", min=0, help="USD an hour of this machine besides energy.")
    ] = None,
    retrain_days: Annotated[
        float | None, typer.Option("--retrain-days", min=0.01, help="Days between trainings.")
    ] = None,
    cached: Annotated[
        float, typer.Option("--cached", min=0, max=1, help="Share of a prompt that a hosted model has cached.")
    ] = 0.0,
    always_on: Annotated[bool, typer.Option("--always-on", help="Rented GPUs answer day and night.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the break-even chart.")
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = RUNS_DIR,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> None:
    """Say what training, data and requests cost, and from which volume on a tuned model has paid for itself.

    Of a run with its measured times and tokens, or of a task with those of its rows. Every price has its source and
    date; old ones, ending ones and sources that disagree are told.
    """
    from burnish.advice.cost_report import cost_report
    from burnish.advice.prices import price_list

    job = _job(what, runs_dir, overrides or [], allow_bad_rows, as_json)
    job = job._replace(config=_with(job.config, minutes_per_row, wage, watts, machine_price, retrain_days))
    costs, today = job.config.costs, datetime.now(UTC).date()
    wages = [] if costs.hourly_wage is None else [f"labour/labelling={costs.hourly_wage}"]
    listed = price_list(prices or costs.prices, [*wages, *(price or [])], today)
    devices = {name: _device(name, listed.has) for name in (DEVICES if device is None else device)}
    inputs = replace(
        _inputs(job, devices, _place(serve), system or []),
        apis=tuple(f"api/{name.removeprefix('api/')}" for name in (APIS if api is None else api)),
        train_at=None if train_at is None else _place(train_at),
        requests_per_day=requests_per_day or job.config.context.requests_per_day,
        cached_share=cached,
        always_on=always_on,
    )
    report = cost_report(inputs, listed, today)
    _tell(report, html, as_json)


def _tell(report: CostReport, html: Path | None, as_json: bool) -> None:
    from burnish.reports.costs import cost_view, write_cost_page

    if html is not None:
        write_cost_page(report, html)
    if as_json:
        print_json(report)
        return
    show(cost_view(report))
    if html is not None:
        typer.echo(f"page       {html}")


def _with(
    config: TaskConfig,
    minutes_per_row: float | None,
    wage: float | None,
    watts: float | None,
    machine_price: float | None,
    retrain_days: float | None,
) -> TaskConfig:
    """The settings with what the command line says."""
    said = {
        "minutes_per_row": minutes_per_row,
        "hourly_wage": wage,
        "watts": watts,
        "machine_per_hour": machine_price,
        "retrain_days": retrain_days,
    }
    known = {name: value for name, value in said.items() if value is not None}
    return config.model_copy(update={"costs": config.costs.model_copy(update=known)})


def _inputs(job: _Job, devices: dict[str, Device], where: str, texts: list[str]) -> CostInputs:
    """What the job needs, with the systems given on the command line."""
    from burnish.advice.cost_report import HERE, CostInputs

    costs = job.config.costs
    given = [_given(text, where) for text in texts]
    names = {one.name for one in given}
    systems = [*(_at(one, where) for one in job.systems if one.name not in names), *given]
    seconds = {} if job.seconds is None else {HERE: job.seconds}
    seconds |= _training_seconds(job, devices)
    return CostInputs(
        name=job.name,
        rows=job.rows,
        tokens=job.tokens,
        epochs=job.config.training.num_epochs,
        systems=tuple(_timed(one, job.question) for one in systems),
        candidate=CANDIDATE,
        seconds=seconds,
        measured=frozenset({HERE} if job.seconds is not None else ()),
        labelled_rows=job.labelled,
        retrain_days=costs.retrain_days,
        retrain_share=costs.retrain_share,
        minutes_per_row=costs.minutes_per_row,
        watts=costs.watts,
        per_hour=costs.machine_per_hour,
    )


def _job(what: str, runs_dir: Path, overrides: list[str], allow_bad_rows: int, quiet: bool) -> _Job:
    """A task where there is a file or a folder that is no run; else a run."""
    path = Path(what)
    if path.exists() and not (path / "run.json").is_file():
        return _of_task(path, overrides, allow_bad_rows, quiet)
    if overrides:
        raise ConfigError("a run's settings are fixed", where="--set", fix="name the task instead of the run")
    return _of_run(what, runs_dir)


def _of_task(path: Path, overrides: list[str], allow_bad_rows: int, quiet: bool) -> _Job:
    """Rows and tokens as the model's tokenizer cuts them; the requests of the tuned model and of the full prompt."""
    from burnish.advice.cost_report import SystemUse
    from burnish.cli.estimate import of_task
    from burnish.config import load_task

    config = load_task(path, overrides).config
    full = of_task(path, [*overrides, "training.prompt=full"], allow_bad_rows, True)
    own = of_task(path, overrides, allow_bad_rows, quiet)
    systems = [
        SystemUse(name, (one.tokens - one.answer) / one.rows, one.answer / one.rows, tuned=tuned, measured=False)
        for name, one, tuned in (("prompt", full, False), (CANDIDATE, own, True))
    ]
    return _Job(config.name, config, own.rows, own.rows, own.tokens, systems, None, own)


def _of_run(what: str, runs_dir: Path) -> _Job:
    """What the run measured: times, tokens of each system, the training."""
    from burnish.advice.cost_report import HERE, HOSTED, SystemUse
    from burnish.config import TaskConfig
    from burnish.finished import Run
    from burnish.runs import open_run, read_json

    run = Run.open(what, runs_dir)
    record = open_run(run.path).record()
    config = TaskConfig.model_validate(record["config"])
    hosted = {one.name for one in config.hosted}
    systems = [
        SystemUse(
            one.system,
            one.prompt_tokens,
            one.completion_tokens,
            HOSTED if one.system in hosted else HERE,
            seconds=one.seconds_per_example,
            tuned=one.system == CANDIDATE,
            cost=one.cost_per_example,
        )
        for one in run.evaluations
        if one.system != "majority"
    ]
    parts = read_json(run.path / "split.json")
    sizes = {part: len(parts.get(part) or ()) for part in ("train", "validation", "test")}
    tuned = next((one for one in systems if one.name == CANDIDATE), None)
    length = 0.0 if tuned is None else tuned.prompt_tokens + tuned.completion_tokens
    training = record.get("training") or {}
    rows = sizes["train"]
    question = None if tuned is None or not rows else _question_of_run(config, rows, tuned)
    return _Job(
        run.run_id, config, rows, sum(sizes.values()), rows * length, systems, training.get("seconds"), question
    )


def _question_of_run(config: TaskConfig, rows: int, tuned: SystemUse) -> Question | None:
    """What the estimate needs, with rows of the mean length; None where the model's sizes are not known any more."""
    from burnish.cli.estimate import Question
    from burnish.training.estimate import Work, setup_of
    from burnish.training.shapes import model_shape
    from burnish.training.work import uniform_work

    settings = config.training
    try:
        shape = model_shape(config.model)
    except BurnishError:
        return None
    length = max(2, round(tuned.prompt_tokens + tuned.completion_tokens))
    answer = max(1, round(tuned.completion_tokens))

    def work_at(budget: int, _: Device) -> Work:
        return uniform_work(
            rows=rows,
            length=length,
            batch_size=settings.batch_size,
            tokens_per_batch=budget,
            num_epochs=settings.num_epochs,
            answer=min(answer, length - 1),
        )

    return Question(
        shape, setup_of(settings), settings.dtype, settings.tokens_per_batch, work_at, rows, rows * length
    )


def _training_seconds(job: _Job, devices: dict[str, Device]) -> dict[str, float]:
    """By place, as `burnish estimate` has it, with SETUP on rented GPUs; those without the memory are left out."""
    from burnish.training.devices import this_machine
    from burnish.training.estimate import dtype_on, estimate

    question = job.question
    if question is None:
        return {}
    places = {f"gpu/{name}": device for name, device in devices.items()}
    if job.seconds is None:
        places = {"here": this_machine(), **places}
    found = {}
    for where, device in places.items():
        setup = replace(question.setup, dtype=dtype_on(device))
        work = question.work_at(question.tokens_per_batch, device)
        answer = estimate(question.shape, setup, work, device)
        if where == "here" or answer.memory.total <= device.memory:
            found[where] = answer.seconds + (0.0 if where == "here" else SETUP)
    return found


def _timed(system: SystemUse, question: Question | None) -> SystemUse:
    """With the seconds of a request, by arithmetic where they were not measured."""
    from burnish.advice.costs import request_seconds
    from burnish.training.devices import named_gpu, this_machine

    if system.seconds is not None or question is None or system.where.startswith(("api/", "hosted")):
        return system
    device = this_machine() if system.where == "here" else named_gpu(system.where.removeprefix("gpu/"))
    wide = device.native_bf16
    seconds = request_seconds(
        question.shape.parameters,
        system.prompt_tokens,
        system.completion_tokens,
        flops=device.flops["bfloat16" if wide else "float32"],
        efficiency=device.efficiency,
        bandwidth=device.bandwidth,
        weight_bytes=question.shape.parameters * (2 if wide else 4),
    )
    return replace(system, seconds=seconds)


def _at(system: SystemUse, where: str) -> SystemUse:
    """The same requests answered elsewhere: the time measured here does not hold there."""
    stays = where == system.where or system.where == "hosted"
    return system if stays else replace(system, where=where, seconds=None)


def _given(text: str, where: str) -> SystemUse:
    """NAME=IN,OUT[@WHERE]. Raises ConfigError."""
    from burnish.advice.cost_report import SystemUse

    name, _, rest = text.partition("=")
    tokens, _, place = rest.partition("@")
    numbers = [_number(part) for part in tokens.split(",")]
    if not name or len(numbers) != 2 or None in numbers:
        fix = "write it like large=1200,60@api/gpt-4.1: tokens of prompt and answer, and where it answers"
        raise ConfigError("is no system", got=text, where="--system", fix=fix)
    prompt, answer = (number or 0.0 for number in numbers)
    at = _place(place) if place else where
    return SystemUse(name, prompt, answer, at, tuned=name == CANDIDATE, measured=False)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def _place(text: str) -> str:
    """here, gpu/NAME or api/NAME. Raises ConfigError."""
    from burnish.training.devices import named_gpu

    if text == "here" or text.startswith("api/"):
        return text
    if text.startswith("gpu/"):
        return f"gpu/{named_gpu(text.removeprefix('gpu/')).name}"
    fix = "say here, gpu/NAME (gpu/l4) or api/NAME (api/gpt-4o-mini)"
    raise ConfigError("is no place", got=text, where="--serve", fix=fix)


def _device(name: str, known: Callable[[str], bool]) -> Device:
    from burnish.training.devices import named_gpu

    found = named_gpu(name.removeprefix("gpu/"))
    if not known(f"gpu/{found.name}"):
        fix = f"say --price gpu/{found.name}=1.5"
        raise ConfigError("there is no price of this GPU", got=name, where="--device", fix=fix)
    return found
