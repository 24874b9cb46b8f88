"""The systems of one run: made on demand over one loaded base model, trained, asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.choosing import Way, choose_way
from burnish.config import HostedConfig, LoadedTask, TaskConfig, TrainingConfig
from burnish.data.questions import Question
from burnish.fit import (
    Fitted,
    attach,
    chat_of,
    judge_system,
    keep,
    load_base,
    local_system,
    refuse_untrainable,
    rows_of,
    train_attached,
)
from burnish.hosting import endpoint_of, hosted_config, hosted_system
from burnish.mixing import ANSWERS, answered, write_answers
from burnish.models.catalog import EMBEDDING_MODEL
from burnish.prepare import Prepared
from burnish.probing import ask
from burnish.progress import Progress
from burnish.records import Example, Json, Prediction, ProbeAnswer, TrainingResult
from burnish.retrieving import Library, passage_ways, settled
from burnish.runs import Notes, commit_folder, read_jsonl, verify_folder
from burnish.systems.rag import WithContext
from burnish.tasks import with_instruction
from burnish.tasks.preference import Preference, answers_think

if TYPE_CHECKING:
    from burnish.models.chat import Chat
    from burnish.models.embed import Remembered
    from burnish.models.generate import Engine
    from burnish.models.load import Loaded
    from burnish.models.quantised import Quantisation
    from burnish.systems.base import System
    from burnish.systems.hosted.endpoint import Endpoint
    from burnish.systems.judge import Score
    from burnish.systems.local import LocalSystem
    from burnish.systems.shots import Shots
    from burnish.training.journal import OnLog

Team = Callable[[LoadedTask, Prepared, Path, Progress], Fitted]


class Bench:
    """Makes the systems of a run and lets them answer; the base model is loaded when first needed.

    folder: of the run, or of other work, in which systems keep notes. team: how several processes train together;
    without it this one trains alone.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        prepared: Prepared,
        folder: Notes,
        progress: Progress,
        team: Team | None = None,
    ) -> None:
        self._task_file = loaded
        self._config: TaskConfig = loaded.config
        self._prepared = prepared
        self._folder = folder
        self._progress = progress
        self._team = team
        self._model: Loaded | None = None
        self._model_is_base = True
        self._chat_template: Chat | None = None
        self._saved: Loaded | None = None
        self._library = Library(loaded, prepared, folder)
        self._embedders: dict[str, Remembered] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._extras = prepared.extras
        self._mixture: list[dict[str, Json]] = []

    @property
    def settings(self) -> TrainingConfig:
        """The task file's training settings."""
        return self._config.training

    def predict(self, name: str, examples: Sequence[Example]) -> list[Prediction]:
        """Answers of a baseline or of the tuned model."""
        return self.system(name).predict(examples, self._progress)

    def predict_as(self, name: str, way: Way, examples: Sequence[Example]) -> list[Prediction]:
        """Answers of a system that is not tuned, prompted in this way."""
        hosted = hosted_config(self._config, name)
        make = self._answering if hosted is None else self._hosting(hosted)
        return make(name, way).predict(examples, self._progress)

    def base_engine(self) -> Engine:
        """The untuned model, for what is to be generated with it."""
        return self._engine()

    def endpoint(self, hosted: HostedConfig) -> Endpoint:
        """The endpoint of a hosted model, whose ledger holds all that it costs here."""
        if hosted.name not in self._endpoints:
            self._endpoints[hosted.name] = endpoint_of(hosted, self._config, self._progress)
        return self._endpoints[hosted.name]

    def embedder(self, name: str) -> Remembered:
        """An embedding model by name, loaded once; "base": the hidden states of the untuned model."""
        from burnish.models.embed import Remembered, hidden_states, load_embedder

        if name == "base":
            return Remembered(hidden_states(self._base()))  # not held here: it would hold the model
        if name not in self._embedders:
            found = load_embedder(name, base_dir=self._task_file.base_dir, progress=self._progress)
            self._embedders[name] = Remembered(found)
        return self._embedders[name]

    def probe(self, questions: Sequence[Question], *, tuned: bool) -> list[ProbeAnswer]:
        """Answers of the untuned or the tuned model to general questions."""
        loaded = self._tuned() if tuned else self._base()
        return ask(loaded, self._chat(), questions, self._progress)

    def training_words(self) -> str:
        """One line about what will be trained."""
        from burnish.models.adapters import method_words

        training = self._config.training
        what = method_words(
            training.method,
            r=training.lora_r,
            bottleneck=training.bottleneck_size,
            virtual_tokens=training.virtual_tokens,
        )
        loss = "" if training.objective == "sft" else f"{training.objective}, "
        return (
            f"{loss}{what} of {self._config.model} on {len(self._prepared.split.train):,} examples, "
            f"{training.num_epochs:g} epochs, rate {training.learning_rate:g}"
        )

    def require_trainable(self) -> None:
        """Raise now what would stop training before its first step."""
        from burnish.models.adapters import QUANTISATION

        local = any(name in ("prompt", "few_shot", "rag") for name in self._config.baselines)
        base = self._base(None if local else QUANTISATION.get(self._config.training.method))
        refuse_untrainable(self._task_file, self._prepared, base, self._chat())

    def train(self, on_log: OnLog | None = None) -> None:
        """Train and leave adapter/ in the run folder; a finished adapter is not trained again."""
        target = self._folder.path / "adapter"
        if target.exists() and not verify_folder(target):
            return
        fitted = self._fit(on_log)
        assert fitted.folder is not None, "the first process writes what was trained"
        # Noted before the adapter gets its name: a crash in between trains the last steps again, and loses nothing.
        self._folder.update(training=fitted.about, base_model_hash=fitted.base_hash)
        if fitted.mixture:
            known = self._folder.record().get("mixture") or []
            self._folder.update(mixture=[one | counts for one, counts in zip(known, fitted.mixture, strict=True)])
        if target.exists():
            shutil.rmtree(target)
        commit_folder(fitted.folder, target)
        if fitted.about["overfit"]:
            self._progress.notice(str(fitted.about["overfit"]), warning=True)

    def _fit(self, on_log: OnLog | None) -> Fitted:
        folder = self._folder.path
        if self._team is not None:
            self._rehearse()
            task = self._settled()
            self._model = None  # the memory is for those who train
            fitted = self._team(task, self._prepared, folder, self._progress)
            if on_log is not None:
                for line in read_jsonl(folder / "metrics.jsonl"):
                    on_log(line)
            return fitted
        result = self.fit(self._config.training, folder, on_log)
        assert self._model is not None
        return keep(self._settled(), self._prepared, folder, self._model, self._chat(), result, self._mixture)

    def fit(
        self, settings: TrainingConfig, folder: Path, on_log: OnLog | None = None, rows: Prepared | None = None
    ) -> TrainingResult:
        """Train on the base model with these settings; the model then holds the best of what was trained.

        folder: gets metrics.jsonl and checkpoints/. rows: to train on in place of the task's own. `release` takes
        what was trained off again.
        """
        from burnish.models.adapters import QUANTISATION

        if rows is None:
            self._rehearse()
        task, prepared = self._settled(), rows or self._prepared
        task = replace(task, config=task.config.model_copy(update={"training": settings}))
        base, chat = self._base(QUANTISATION.get(settings.method)), self._chat()
        if settings.context == "retrieved":
            prepared = self._library.trained(prepared, task.config, chat, base)
        tokens = rows_of(task, prepared, self._progress, base, chat)
        self._mixture = tokens.about
        self._model, self._model_is_base = attach(base, settings, self._config.seed, tokens, self._progress), False
        return train_attached(task, prepared, folder, self._progress, self._model, chat, tokens, on_log=on_log)

    def _rehearse(self) -> None:
        """Fill in the answers of the untuned model where they are trained on: written once, whoever trains."""
        path, split = self._folder.path / ANSWERS, self._prepared.split
        epochs = self._config.training.num_epochs
        write_answers(self._extras, path, self._engine, self._progress, own=len(split.train), epochs=epochs)
        self._prepared = self._prepared._replace(extras=answered(self._extras, path))

    def predict_fitted(self, examples: Sequence[Example]) -> list[Prediction]:
        """Answers of what `fit` has left in the model, which is not saved anywhere."""
        model, task, training = self._model, self._prepared.task, self._config.training
        assert model is not None, "fit comes first"
        if isinstance(task, Preference):
            from burnish.systems.judge import score_of

            score = score_of(training.objective, training.method)
            judge = judge_system("tuned", task, model, self._chat(), self._config, score)
            return judge.predict(examples, self._progress)
        from burnish.models.generate import Engine

        engine = Engine(model, self._chat(), tokens_per_batch=self._config.generation.tokens_per_batch)
        tuned = self._local("tuned", engine, full=training.prompt == "full")
        return self._as_trained(tuned, model).predict(examples, self._progress)

    def release(self) -> None:
        """Make the model the base again: an adapter is taken off, or all is let go and loaded anew when needed."""
        if self._model is None or self._model_is_base:
            return
        inner = getattr(self._model.model, "base_model", None)
        if hasattr(self._model.model, "peft_config") and hasattr(type(inner), "unload"):
            self._model = self._model._replace(model=self._model.model.unload())
            self._model_is_base = True
        else:
            self._model = None

    def system(self, name: str) -> System:
        """A baseline or the tuned model by name."""
        split, task = self._prepared.split, self._prepared.task
        if isinstance(task, Preference):
            return self._judge(name, task)
        if name == "majority":
            from burnish.systems.majority import Majority

            return Majority(task, split.train)
        if name == "embedding_probe":
            return self._embedding_probe()
        if name in ("prompt", "few_shot"):
            return self._prompted(name, few=name == "few_shot", make=self._answering)
        if (hosted := hosted_config(self._config, name)) is not None:
            return self._prompted(name, few=hosted.prompt == "few_shot", make=self._hosting(hosted))
        if name == "rag":
            return self._prompted(name, make=self._retrieving, values=passage_ways(self._config))
        if name == "right_document":
            return self._knowing(name)
        tuned = self._local(name, self._tuned_engine(), full=self._config.training.prompt == "full")
        return self._as_trained(tuned, self._tuned())

    def _as_trained(self, tuned: LocalSystem, model: Loaded) -> System:
        """The tuned system, shown passages where it was trained with them."""
        if self._config.training.context == "none":
            return tuned
        context = self._library.tuned(self._settled().config, self._chat(), model)
        return WithContext(tuned.name, tuned, context)

    def _knowing(self, name: str) -> System:
        """The prompted model, shown the document that each example names."""
        way = self._way("prompt", self._answering)
        task, engine = with_instruction(self._prepared.task, way.instruction), self._engine()
        context = self._library.right(task, engine.chat, engine.context)
        return WithContext(name, local_system(name, task, engine, self._config, full=True), context)

    def _prompted(self, name: str, make: Callable[[str, Way], System], **options: Any) -> System:
        """A system prompted in the way that is best on validation. options: of `choose_way`."""
        return make(name, self._way(name, make, **options))

    def _way(self, name: str, make: Callable[[str, Way], System], **options: Any) -> Way:
        def system(way: Way) -> System:
            return make(name, way)

        return choose_way(name, self._config, self._prepared, self._folder.path, self._progress, system, **options)

    def _retrieving(self, name: str, way: Way) -> System:
        """The base model, shown passages."""
        task, engine = with_instruction(self._prepared.task, way.instruction), self._engine()
        context = self._library.prompted(way.k, task, engine.chat, engine.context)
        return WithContext(name, local_system(name, task, engine, self._config, full=True), context)

    def _settled(self) -> LoadedTask:
        """The task with the number of passages that was chosen."""
        if self._config.training.context == "none":
            return self._task_file
        way = self._way("rag", self._retrieving, values=passage_ways(self._config))
        return settled(self._task_file, way.k)

    def _answering(self, name: str, way: Way) -> System:
        task = with_instruction(self._prepared.task, way.instruction)
        return local_system(name, task, self._engine(), self._config, full=True, shots=self._shots(way))

    def _hosting(self, hosted: HostedConfig) -> Callable[[str, Way], System]:
        endpoint = self.endpoint(hosted)

        def make(name: str, way: Way) -> System:
            task, train = with_instruction(self._prepared.task, way.instruction), self._prepared.split.train
            return hosted_system(hosted, self._config, task, endpoint, shots=self._shots(way), train=train)

        return make

    def _shots(self, way: Way) -> Shots | None:
        """Where the examples in a prompt come from."""
        from burnish.systems.shots import Fixed, Nearest, NearestByMeaning

        train = self._prepared.split.train
        if not way.k:
            return None
        if way.select == "fixed":
            return Fixed(train, way.k, self._config.seed, self._prepared.task.stratum)
        if way.select == "nearest":
            return Nearest(train, way.k)
        return NearestByMeaning(train, way.k, self.embedder(EMBEDDING_MODEL).embed)

    def _embedding_probe(self) -> System:
        from burnish.systems.embedding_probe import EmbeddingProbe

        embedder = self.embedder(self._config.embedding_probe.model)
        probe = EmbeddingProbe(self._prepared.task, self._prepared.split.train, embedder.embed, self._progress)
        self._folder.update(embedding_probe={"model": embedder.name} | probe.about)
        return probe

    def _judge(self, name: str, task: Preference) -> System:
        """A system that chooses between the two answers of a pair."""
        from burnish.systems.judge import SCORES, LongerOrShorter, score_of

        if name == "majority":
            return LongerOrShorter(task, self._prepared.split.train, self._chat())
        training = self._config.training
        score: Score = "average" if name == "prompt" else score_of(training.objective, training.method)
        self._progress.notice(f"{name} is measured by the {SCORES[score]}")
        judged_by = self._folder.record().get("judged_by") or {}
        self._folder.update(judged_by=judged_by | {name: score})
        model = self._base() if name == "prompt" else self._tuned()
        return judge_system(name, task, model, self._chat(), self._config, score)

    def _local(self, name: str, engine: Engine, *, full: bool) -> LocalSystem:
        return local_system(name, self._prepared.task, engine, self._config, full=full)

    def _base(self, quantise: Quantisation | None = None) -> Loaded:
        """The base model. Once training has changed it, a fresh copy is loaded for whoever asks."""
        if self._model is None or not self._model_is_base or self._model.quantisation != quantise:
            self._model = None  # not two models at once
            self._model = load_base(self._task_file, self._progress, quantise=quantise)
            self._model_is_base = True
        return self._model

    def _chat(self) -> Chat:
        if self._chat_template is None:
            thinks = answers_think(self._prepared.task, self._prepared.split.train)
            self._chat_template = chat_of(self._model or self._base(), thinks=thinks)
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
