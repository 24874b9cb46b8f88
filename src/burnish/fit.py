"""Training as one step of a run: rows, model and loop put together. Every process that trains calls this."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from burnish.config import LoadedTask, TaskConfig, TrainingConfig
from burnish.evaluation.evaluate import primary_value
from burnish.mixing import mixed_rows
from burnish.prepare import Prepared
from burnish.progress import Progress
from burnish.records import Json, Message, Prediction, TrainingResult
from burnish.retrieving import with_retrieved
from burnish.runs import to_json, write_predictions
from burnish.tasks import Task
from burnish.tasks.preference import Preference, answers_think, is_pair
from burnish.trust import VALIDATION_ANSWERS

if TYPE_CHECKING:
    from burnish.models.chat import Chat
    from burnish.models.generate import Engine
    from burnish.models.load import Loaded
    from burnish.models.quantised import Quantisation
    from burnish.systems.base import System
    from burnish.systems.judge import Judge, Score
    from burnish.systems.local import LocalSystem
    from burnish.training.journal import OnLog
    from burnish.training.objectives.base import Item, Objective
    from burnish.training.parallel import Group


class Fitted(NamedTuple):
    """What training left.

    folder: the adapter's files under a temporary name, to be committed by whoever holds the run; None in all
    processes but the first. about: the numbers of records.TrainingResult without its history. mixture: counts of each
    further data set.
    """

    folder: Path | None
    base_hash: str
    about: dict[str, Json]
    mixture: list[dict[str, Json]]


class Rows(NamedTuple):
    """What is trained and validated on. epoch: places in train of what each epoch holds."""

    train: list[Item]
    validation: list[Item]
    epoch: Callable[[int], list[int]]
    about: list[dict[str, Json]]


def fit(
    loaded: LoadedTask,
    prepared: Prepared,
    folder: Path,
    progress: Progress,
    *,
    base: Loaded | None = None,
    chat: Chat | None = None,
    group: Group | None = None,
) -> Fitted:
    """Train on the split's training part; checkpoints/ and metrics.jsonl go into `folder`, a run's.

    base, chat: the base model and its template where they are loaded already; the model is changed.
    group: the processes that train together, each calling this with the same task.
    Raises TrainingError, ModelError, Interrupted.
    """
    from burnish.models.adapters import QUANTISATION
    from burnish.training.parallel import Group

    group = group or Group()
    settings = loaded.config.training
    base = base or load_base(loaded, progress, place=not group.sharded, quantise=QUANTISATION.get(settings.method))
    if chat is None:
        chat = chat_of(base, thinks=answers_think(prepared.task, prepared.split.train))
        for notice in chat.notices:
            progress.notice(notice)
    if settings.context == "retrieved":
        prepared = with_retrieved(prepared, loaded.config, chat, base)
    rows = rows_of(loaded, prepared, progress, base, chat)
    tuned = attach(base, settings, loaded.config.seed, rows, progress, group=group)
    result = train_attached(loaded, prepared, folder, progress, tuned, chat, rows, group=group)
    return keep(loaded, prepared, folder, tuned, chat, result, rows.about, group=group)


def attach(
    base: Loaded, settings: TrainingConfig, seed: int, rows: Rows, progress: Progress, *, group: Group | None = None
) -> Loaded:
    """The base with what the settings train, begun as they say; the base's own modules are changed."""
    from burnish.models.adapters import attach_adapter
    from burnish.models.lora_targets import left_out

    model = attach_adapter(
        base.model,
        method=settings.method,
        r=settings.lora_r,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
        target_modules=settings.lora_target_modules,
        rank_stabilised=settings.lora_rank_stabilised,
        bottleneck=settings.bottleneck_size,
        virtual_tokens=settings.virtual_tokens,
        seed=seed,
    )
    if settings.lora_target_modules == "all-linear" and settings.method in ("lora", "qlora", "dora"):
        others = left_out(model)
        if others:
            progress.notice(f"the adapter leaves as they are: {', '.join(others)}")
    # An objective that measures from the model without its adapter wants to begin there.
    corrected = settings.method == "qlora" and settings.qlora_init == "corrected" and settings.objective == "sft"
    start = _correct(model, seed, rows, progress, group) if corrected else {}
    return base._replace(model=model, start=start)


def _correct(model: Any, seed: int, rows: Rows, progress: Progress, group: Group | None) -> dict[str, Any]:
    """Begin an adapter with what 4-bit weights lost, alike in all processes; the tensors that it begins with."""
    from burnish.models.corrected import correct_quantisation

    progress.stage("correct", "adapters begin with what 4-bit weights lost")
    found = correct_quantisation(model, [item.sequences[0].tokens for item in rows.train], seed=seed)
    progress.notice(
        f"{found.layers} of {found.of} layers corrected: {1 - found.left:.0%} of the squared error that 4-bit "
        "weights make in their outputs"
    )
    if group is not None:
        group.same(parameter for parameter in model.parameters() if parameter.requires_grad)
    return found.start


def train_attached(
    loaded: LoadedTask,
    prepared: Prepared,
    folder: Path,
    progress: Progress,
    tuned: Loaded,
    chat: Chat,
    rows: Rows,
    *,
    group: Group | None = None,
    on_log: OnLog | None = None,
) -> TrainingResult:
    """Train what `attach` attached, with the task's settings; the model then holds the best of it."""
    from burnish.training.loop import train
    from burnish.training.parallel import Group

    config = loaded.config
    validation = _validation(config, prepared, folder, tuned, chat, progress)
    return train(
        tuned.model,
        rows.train,
        rows.validation,
        settings=config.training,
        seed=config.seed,
        device=tuned.device,
        folder=folder,
        metric=validation.measure if validation else None,
        metric_name=prepared.task.metrics[0].name,
        progress=progress,
        objective=_objective(config.training),
        on_log=on_log,
        group=group or Group(),
        epoch=rows.epoch,
        on_best=validation.keep if validation else None,
    )


def keep(
    loaded: LoadedTask,
    prepared: Prepared,
    folder: Path,
    tuned: Loaded,
    chat: Chat,
    result: TrainingResult,
    mixture: list[dict[str, Json]],
    *,
    group: Group | None = None,
) -> Fitted:
    """Write what was trained under a temporary name in the run's folder; the first process alone."""
    from burnish.models.adapters import adapter_state, write_adapter
    from burnish.models.whole import as_computed
    from burnish.training.parallel import Group

    group = group or Group()
    about = to_json(result) | {"adapter_dir": str(folder / "adapter"), "processes": group.size}
    about.pop("history")
    state = as_computed(tuned.model, adapter_state(tuned.model)) if group.sharded else None
    if group.rank > 0:
        return Fitted(None, tuned.base_hash, about, mixture)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".adapter.", suffix=".tmp"))
    info = _info(loaded.config, prepared, tuned, chat)
    write_adapter(tuned.model, tuned.tokenizer, temporary, info, state=state, start=tuned.start)
    return Fitted(temporary, tuned.base_hash, about, mixture)


def _objective(settings: TrainingConfig) -> Objective:
    from burnish.training.objectives.make import make_objective

    return make_objective(
        settings.objective,
        beta=settings.beta,
        label_smoothing=settings.label_smoothing,
        dpo_loss=settings.dpo_loss,
        simpo_gamma=settings.simpo_gamma,
        kto_desirable_weight=settings.kto_desirable_weight,
        kto_undesirable_weight=settings.kto_undesirable_weight,
    )


def load_base(
    loaded: LoadedTask, progress: Progress, *, place: bool = True, quantise: Quantisation | None = None
) -> Loaded:
    """The base model of a task, in the number format that it is trained in; place: on the device."""
    from burnish.models.load import load_model

    config, dtype = loaded.config, loaded.config.training.dtype
    base = load_model(
        config.model, dtype=dtype, quantise=quantise, base_dir=loaded.base_dir, progress=progress, place=place
    )
    if dtype == "float16" and base.device == "cpu":
        progress.notice("float16 is slow on a CPU: training.dtype: auto is quicker", warning=True)
    if dtype == "auto" and base.device == "cuda" and str(base.dtype) == "torch.float32":
        progress.notice("this GPU has no bfloat16: training.dtype: float16 is several times as fast as float32")
    return base


class _Lengths(NamedTuple):
    """limit: tokens of the longest row that is trained on. options: of encode."""

    limit: int
    options: dict[str, Any]


def _lengths(settings: TrainingConfig, base: Loaded) -> _Lengths:
    from burnish.models.text_part import context_length

    context = context_length(base.model)
    virtual = settings.virtual_tokens if settings.method in ("prefix_tuning", "prompt_tuning") else 0
    limit = min(settings.max_length, context - virtual)
    options: dict[str, Any] = {
        "full": settings.prompt == "full",
        "max_length": limit,
        "turns": settings.train_on,
        "objective": settings.objective,
    }
    return _Lengths(limit, options)


def refuse_untrainable(loaded: LoadedTask, prepared: Prepared, base: Loaded, chat: Chat) -> None:
    """Nothing, when training can begin. Asked before anything long, so that a mistake costs no measured baselines.

    Raises TrainingError for rows that are too long (with passages, which are chosen later, they are longer still),
    ModelError for modules that the model does not have.
    """
    from burnish.models.adapters import require_modules
    from burnish.training.encode import encode, refuse_too_long

    settings = loaded.config.training
    if settings.method in ("lora", "qlora", "dora", "ia3"):
        require_modules(base.model, settings.lora_target_modules)
    limit, options = _lengths(settings, base)
    encoding = encode(prepared.split.train, prepared.task, chat, **options)
    refuse_too_long(encoding, max_length=limit, max_dropped=settings.max_dropped)


def rows_of(loaded: LoadedTask, prepared: Prepared, progress: Progress, base: Loaded, chat: Chat) -> Rows:
    """The training part, with the mixture's rows, and the validation part as items, checked."""
    from burnish.training.encode import encode, refuse_too_long
    from burnish.training.guards import check_labels

    config = loaded.config
    settings, split = config.training, prepared.split
    limit, options = _lengths(settings, base)
    encoding = encode(split.train, prepared.task, chat, **options)
    refuse_too_long(encoding, max_length=limit, max_dropped=settings.max_dropped)
    if encoding.too_long:
        progress.notice(
            f"{len(encoding.too_long)} training examples are longer than {limit} tokens and are left out",
            warning=True,
        )
    mixed = mixed_rows(
        encoding.rows,
        prepared.extras,
        chat=chat,
        max_length=limit,
        turns=settings.train_on,
        epochs=settings.num_epochs,
        progress=progress,
    )
    check_labels(mixed.rows, chat)
    return Rows(mixed.rows, encode(split.validation, prepared.task, chat, **options).rows, mixed.epoch, mixed.about)


class Validation(NamedTuple):
    """measure: the primary metric of the model as it is on the first validation examples.

    keep: write down the answers measured last, which are those of the best checkpoint when training calls it.
    """

    measure: Callable[[], float]
    keep: Callable[[], None]


def _validation(
    config: TaskConfig, prepared: Prepared, folder: Path, tuned: Loaded, chat: Chat, progress: Progress
) -> Validation | None:
    """None when there is nothing to answer."""
    from burnish.models.generate import Engine
    from burnish.systems.judge import score_of

    examples = prepared.split.validation[: config.training.eval_examples]
    if not examples:
        return None
    system: System
    if isinstance(prepared.task, Preference):
        if not all(is_pair(example.target) for example in examples):
            return None  # rows with one answer have a loss, but no choice to be right about
        score = score_of(config.training.objective, config.training.method)
        system = judge_system("validation", prepared.task, tuned, chat, config, score)
    else:
        engine = Engine(tuned, chat, tokens_per_batch=config.generation.tokens_per_batch)
        full = config.training.prompt == "full"
        system = local_system("validation", prepared.task, engine, config, full=full)
    last: list[Prediction] = []

    def measure() -> float:
        last[:] = system.predict(examples, progress)
        return primary_value(prepared.task, examples, last)

    return Validation(measure, lambda: write_predictions(folder / VALIDATION_ANSWERS, last))


def _info(config: TaskConfig, prepared: Prepared, base: Loaded, chat: Chat) -> Any:
    from burnish.models.adapters import AdapterInfo

    split, task = prepared.split, prepared.task
    full = config.training.prompt == "full"
    prompts = {_system_text(task.messages(example, full=full)) for example in split.train}
    return AdapterInfo(
        base_model=config.model,
        base_hash=base.base_hash,
        dtype=str(base.dtype).removeprefix("torch."),
        system_prompt=prompts.pop() if len(prompts) == 1 else "",
        prompt=config.training.prompt,
        task=config.model_dump(mode="json", by_alias=True),
        labels=prepared.labels,
        chat_template=chat.template,
        method=config.training.method,
        quantisation=base.quantisation,
        tools=split.train[0].tools if getattr(task, "shared_tools", False) else (),
    )


def _system_text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages if message.role == "system")


def chat_of(loaded: Loaded, template: str | None = None, *, thinks: bool = False) -> Chat:
    """The chat template of a loaded model, with the stop tokens of its generation settings.

    template: that of an adapter's training. thinks: answers begin with thoughts.
    """
    from burnish.models.chat import Chat

    eos = loaded.model.generation_config.eos_token_id
    ids = [] if eos is None else [int(token) for token in (eos if isinstance(eos, list) else [eos])]
    return Chat(loaded.tokenizer, ids, template, thinks=thinks)


def local_system(
    name: str, task: Task, engine: Engine, config: TaskConfig, *, full: bool, shots: Any = None
) -> LocalSystem:
    """A system with the task file's generation settings, the same for baselines and tuned models."""
    from burnish.systems.local import LocalSystem

    return LocalSystem(
        name,
        task,
        engine,
        full=full,
        shots=shots,
        constrain=config.generation.constrain,
        max_new_tokens=config.generation.max_new_tokens,
        temperature=config.generation.temperature,
        seed=config.seed,
    )


def judge_system(name: str, task: Preference, model: Loaded, chat: Chat, config: TaskConfig, score: Score) -> Judge:
    """A system that chooses between two answers by what the model makes of them."""
    from burnish.systems.judge import local_judge

    return local_judge(
        name,
        task,
        model,
        chat,
        score=score,
        beta=config.training.beta,
        per_token=config.training.dpo_loss == "ipo",
        tokens_per_batch=config.training.tokens_per_batch,  # the same sequences as in training
    )
