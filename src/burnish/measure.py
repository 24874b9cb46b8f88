"""The systems of one run: made on demand over one loaded base model, trained, asked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.config import LoadedTask, TaskConfig
from burnish.data.questions import Question
from burnish.errors import DataError
from burnish.evaluation.evaluate import primary_value
from burnish.mixing import mixed_rows
from burnish.prepare import Prepared
from burnish.probing import ask
from burnish.progress import Progress, Silent
from burnish.records import Example, Message, Prediction, ProbeAnswer, Source
from burnish.runs import RunFolder, commit_folder, to_json, verify_folder
from burnish.tasks import Task, make_task

if TYPE_CHECKING:
    from burnish.models.chat import Chat
    from burnish.models.generate import Engine
    from burnish.models.load import Loaded
    from burnish.systems.base import System
    from burnish.systems.local import LocalSystem


class Bench:
    """Makes the systems of a run and lets them answer; the base model is loaded when first needed."""

    def __init__(self, loaded: LoadedTask, prepared: Prepared, folder: RunFolder, progress: Progress) -> None:
        self._task_file = loaded
        self._config: TaskConfig = loaded.config
        self._prepared = prepared
        self._folder = folder
        self._progress = progress
        self._model: Loaded | None = None
        self._model_is_base = True
        self._chat_template: Chat | None = None
        self._saved: Loaded | None = None

    def predict(self, name: str, examples: Sequence[Example]) -> list[Prediction]:
        """Answers of a baseline or of the tuned model."""
        return self._system(name).predict(examples, self._progress)

    def probe(self, questions: Sequence[Question], *, tuned: bool) -> list[ProbeAnswer]:
        """Answers of the untuned or the tuned model to general questions."""
        loaded = self._tuned() if tuned else self._base()
        return ask(loaded, self._chat(), questions, self._progress)

    def training_words(self) -> str:
        """One line about what will be trained."""
        training = self._config.training
        what = {
            "lora": f"LoRA r={training.lora_r}",
            "dora": f"DoRA r={training.lora_r}",
            "ia3": "IA3",
            "full": "all weights",
        }
        return (
            f"{what[training.method]} of {self._config.model} on {len(self._prepared.split.train):,} examples, "
            f"{training.num_epochs:g} epochs, rate {training.learning_rate:g}"
        )

    def train(self) -> None:
        """Train and leave adapter/ in the run folder; a finished adapter is not trained again."""
        from burnish.models.adapters import attach_adapter, write_adapter
        from burnish.training.encode import encode, refuse_too_long
        from burnish.training.guards import check_labels
        from burnish.training.loop import train

        target = self._folder.path / "adapter"
        if target.exists() and not verify_folder(target):
            return
        settings, split, task = self._config.training, self._prepared.split, self._prepared.task
        base, chat, full = self._base(), self._chat(), settings.prompt == "full"
        limit = min(settings.max_length, int(getattr(base.model.config, "max_position_embeddings", 2**31)))
        options: dict[str, Any] = {"full": full, "max_length": limit, "turns": settings.train_on}
        encoding = encode(split.train, task, chat, **options)
        refuse_too_long(encoding, max_length=limit, max_dropped=settings.max_dropped)
        if encoding.too_long:
            self._progress.notice(
                f"{len(encoding.too_long)} training examples are longer than {limit} tokens and are left out",
                warning=True,
            )
        mixed = mixed_rows(
            encoding.rows,
            self._prepared.extras,
            chat=chat,
            engine=self._engine,
            max_length=limit,
            turns=settings.train_on,
            epochs=settings.num_epochs,
            folder=self._folder,
            progress=self._progress,
        )
        check_labels(mixed.rows, chat)
        validation = encode(split.validation, task, chat, **options).rows
        model = attach_adapter(
            base.model,
            method=settings.method,
            r=settings.lora_r,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            target_modules=settings.lora_target_modules,
            rank_stabilised=settings.lora_rank_stabilised,
            seed=self._config.seed,
        )
        self._model, self._model_is_base = base._replace(model=model), False
        result = train(
            model,
            mixed.rows,
            validation,
            settings=settings,
            seed=self._config.seed,
            device=base.device,
            folder=self._folder.path,
            metric=self._validation_metric(),
            metric_name=task.metrics[0].name,
            progress=self._progress,
            epoch=mixed.epoch,
        )
        temporary = Path(tempfile.mkdtemp(dir=self._folder.path, prefix=".writing-"))
        write_adapter(model, base.tokenizer, temporary, self._info(base, chat))
        if target.exists():
            shutil.rmtree(target)
        commit_folder(temporary, target)
        about = to_json(result) | {"adapter_dir": str(target)}
        about.pop("history")
        self._folder.update(training=about, base_model_hash=base.base_hash)
        if result.overfit:
            self._progress.notice(result.overfit, warning=True)

    def _system(self, name: str) -> System:
        split, task = self._prepared.split, self._prepared.task
        if name == "majority":
            from burnish.systems.majority import Majority

            return Majority(task, split.train)
        if name == "prompt":
            return self._local(name, self._engine(), full=True)
        if name == "few_shot":
            from burnish.systems.shots import Fixed, Nearest

            few = self._config.few_shot
            if few.select == "nearest":
                return self._local(name, self._engine(), full=True, shots=Nearest(split.train, few.k))
            fixed = Fixed(split.train, few.k, self._config.seed, task.stratum)
            return self._local(name, self._engine(), full=True, shots=fixed)
        return self._local(name, self._tuned_engine(), full=self._config.training.prompt == "full")

    def _local(self, name: str, engine: Engine, *, full: bool, shots: Any = None) -> LocalSystem:
        return local_system(name, self._prepared.task, engine, self._config, full=full, shots=shots)

    def _base(self) -> Loaded:
        """The base model. Once training has changed it, a fresh copy is loaded for whoever asks."""
        from burnish.models.load import load_model

        if self._model is None or not self._model_is_base:
            config, dtype = self._config, self._config.training.dtype
            if config.training.method == "full" and dtype == "auto":
                dtype = "float32"  # bfloat16 has 8 bits: it would round most updates of a weight away
            self._model = load_model(
                config.model, dtype=dtype, base_dir=self._task_file.base_dir, progress=self._progress
            )
            self._model_is_base = True
        return self._model

    def _chat(self) -> Chat:
        if self._chat_template is None:
            self._chat_template = chat_of(self._model or self._base())
            for notice in self._chat_template.notices:
                self._progress.notice(notice)
        return self._chat_template

    def _engine(self) -> Engine:
        from burnish.models.generate import Engine

        return Engine(self._base(), self._chat(), tokens_per_batch=self._config.generation.tokens_per_batch)

    def _tuned(self) -> Loaded:
        """The saved adapter on a fresh base: what is measured is what is shipped."""
        from burnish.models.adapters import load_tuned

        if self._saved is None or self._saved is not self._model:
            self._model = self._saved = None  # not two models at once
            folder, base_dir = self._folder.path / "adapter", self._task_file.base_dir
            self._model = self._saved = load_tuned(folder, base_dir=base_dir, progress=self._progress)
            self._model_is_base = False
        return self._saved

    def _tuned_engine(self) -> Engine:
        from burnish.models.generate import Engine

        return Engine(self._tuned(), self._chat(), tokens_per_batch=self._config.generation.tokens_per_batch)

    def _validation_metric(self) -> Callable[[], float] | None:
        """The primary metric of the model in training on the first validation examples."""
        from burnish.models.generate import Engine

        examples = self._prepared.split.validation[: self._config.training.eval_examples]
        if not examples or self._model is None:
            return None
        task = self._prepared.task
        engine = Engine(self._model, self._chat(), tokens_per_batch=self._config.generation.tokens_per_batch)
        system = self._local("validation", engine, full=self._config.training.prompt == "full")

        def measure() -> float:
            return primary_value(task, examples, system.predict(examples, self._progress))

        return measure

    def _info(self, base: Loaded, chat: Chat) -> Any:
        from burnish.models.adapters import AdapterInfo

        split, task = self._prepared.split, self._prepared.task
        full = self._config.training.prompt == "full"
        prompts = {_system_text(task.messages(example, full=full)) for example in split.train}
        return AdapterInfo(
            base_model=self._config.model,
            base_hash=base.base_hash,
            dtype=str(base.dtype).removeprefix("torch."),
            system_prompt=prompts.pop() if len(prompts) == 1 else "",
            prompt=self._config.training.prompt,
            task=self._config.model_dump(mode="json", by_alias=True),
            labels=self._prepared.labels,
            chat_template=chat.template,
            method=self._config.training.method,
            tools=split.train[0].tools if getattr(task, "shared_tools", False) else (),
        )


def _system_text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages if message.role == "system")


def chat_of(loaded: Loaded, template: str | None = None) -> Chat:
    """The chat template of a loaded model, with the stop tokens of its generation settings."""
    from burnish.models.chat import Chat

    eos = loaded.model.generation_config.eos_token_id
    ids = [] if eos is None else [int(token) for token in (eos if isinstance(eos, list) else [eos])]
    return Chat(loaded.tokenizer, ids, template)


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


def predictor(
    run_dir: Path, progress: Progress | None = None
) -> Callable[[Sequence[str | Example]], list[Prediction]]:
    """The tuned model of a run, loaded once, as a function from inputs to predictions.

    Template, prompt, tools and constraint are those stored with the adapter. Raises ModelError or RunError; the
    function raises DataError for inputs without tools where every training example had its own.
    """
    from burnish.models.adapters import load_tuned, read_info
    from burnish.models.generate import Engine

    progress = progress or Silent()
    info = read_info(run_dir / "adapter")
    config = TaskConfig.model_validate(info.task)
    # Answering needs no metric, and the user's own may be out of reach here.
    unmeasured = config.model_copy(update={"goal": config.goal.model_copy(update={"metric": None})})
    task = make_task(unmeasured, info.labels, shared_tools=bool(info.tools))
    tuned = load_tuned(run_dir / "adapter", progress=progress)
    engine = Engine(tuned, chat_of(tuned, info.chat_template), tokens_per_batch=config.generation.tokens_per_batch)
    system = local_system("tuned", task, engine, config, full=info.prompt == "full")

    def predict(inputs: Sequence[str | Example]) -> list[Prediction]:
        examples = [
            item if isinstance(item, Example) else _unlabelled(item, number) for number, item in enumerate(inputs, 1)
        ]
        if config.kind == "tool_calling":
            examples = [_with_tools(example, info.tools) for example in examples]
        return system.predict(examples, progress)

    return predict


def _unlabelled(text: str, number: int) -> Example:
    return Example(str(number), (Message("user", text),), None, Source("input", number))


def _with_tools(example: Example, shared: tuple[Mapping[str, Any], ...]) -> Example:
    """The example with the tools of training, unless it brings its own."""
    if example.tools:
        return example
    if not shared:
        raise DataError(
            "the input brings no tools, and this model was trained on rows with tools of their own",
            where=f"{example.source.file}:{example.source.line}",
            fix="give a file whose rows have a column 'tools'",
        )
    return replace(example, tools=shared)
