"""`burnish prompt tune`: better instructions proposed by a chat model, measured on validation, round after round.

It stands in runs/prompt-<name>-<time>-<hash>/ and goes on where it was: rounds.jsonl has what was proposed,
trials.jsonl and predictions/ what was measured. The sealed test is put away before the first round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from burnish.choosing import Way, ways
from burnish.config import LoadedTask
from burnish.errors import ConfigError, Interrupted
from burnish.evaluation.evaluate import compare, primary_value
from burnish.hosting import hosted_config
from burnish.measure import Bench
from burnish.prepare import Prepared, prepare_checked, refuse_errors
from burnish.progress import Progress, Silent
from burnish.records import Example, Message, Paired, Prediction, PromptTrial
from burnish.reports.prompt_tuning import write_prompt_tuning_page
from burnish.runs import (
    NotesFolder,
    append_jsonl,
    from_json,
    locked_study,
    new_study,
    newest_study,
    read_jsonl,
    read_predictions,
    write_json,
    write_predictions,
)
from burnish.tuning.folder import describe
from burnish.tuning.proposals import Case, Tried, read_instructions, request
from burnish.tuning.proposers import Proposer, make_proposer, require_proposer
from burnish.tuning_records import PromptTuning

KIND = "prompt"  # runs/studies.py
TRIALS, ROUNDS, RESULT, PAGE = "trials.jsonl", "rounds.jsonl", "prompt-tuning.json", "prompt-tuning.html"
SAMPLE = 32  # training rows that the best instruction answers before each round
MISTAKES, GOOD = 6, 3  # of them that the proposer is shown


class Options(NamedTuple):
    """What is asked for. system: prompt, few_shot or a hosted model; model: who writes (None: the task's own);
    examples: validation examples, None for prompt.eval_examples."""

    system: str = "prompt"
    model: str | None = None
    rounds: int = 3
    candidates: int = 4
    examples: int | None = None


def tune_prompt(
    loaded: LoadedTask,
    options: Options,
    *,
    runs_dir: str | Path = "runs",
    resume: bool = False,
    allow_bad_rows: int = 0,
    progress: Progress | None = None,
    command: str | None = None,
) -> PromptTuning:
    """Search a better instruction for a system that is not tuned.

    resume: go on with the newest search of the task; with more rounds also when it is over. Raises Interrupted after
    Ctrl-C, and other children of BurnishError for what the user can mend.
    """
    progress = progress or Silent()
    way = _way(loaded, options)
    for notice in loaded.notices:
        progress.notice(notice)
    require_proposer(options.model, loaded)
    progress.stage("check", "reading the examples and looking for what is wrong with them")
    prepared, report = prepare_checked(loaded, allow_bad_rows=allow_bad_rows, progress=progress)
    refuse_errors(report, progress)
    count = options.examples or loaded.config.prompt.eval_examples
    asked = {"system": options.system, "model": options.model, "candidates": options.candidates, "examples": count}
    config = loaded.config.model_dump(mode="json", by_alias=True)
    same = describe(config, asked, "metric", prepared.fingerprint, prepared.split.sealed_hash)
    examples = prepared.split.validation[:count]
    if not examples:
        fix = "give split.validation a share such as 0.1"
        raise ConfigError("instructions are compared on validation examples", where="split.validation", fix=fix)
    prepared = prepared._replace(split=replace(prepared.split, test=()))  # nothing here can read it
    root, name = Path(runs_dir), loaded.config.name
    if resume:
        folder = newest_study(root, KIND, name, same)
    else:
        folder = new_study(root, KIND, name, same, command)
    progress.stage("prompt tune", f"{folder}: {options.system} on {len(examples)} validation examples")
    with locked_study(folder):
        bench = Bench(loaded, prepared, NotesFolder(folder), progress)
        search = _Search(folder, options, way, bench, prepared, examples, progress)
        try:
            search.run(loaded)
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(
                "interrupted; what was tried is kept", fix="go on with `burnish prompt tune TASK --resume`"
            ) from None
        result = search.result(name, options.model or loaded.config.model, loaded.config.seed)
        write_json(folder / RESULT, result)
        write_prompt_tuning_page(result, folder / PAGE)
    return result


def _way(loaded: LoadedTask, options: Options) -> Way:
    """How the system is prompted but for the instruction: with the first values of few_shot."""
    config = loaded.config
    hosted = hosted_config(config, options.system)
    if options.system not in ("prompt", "few_shot") and hosted is None:
        known = ", ".join(["prompt", "few_shot", *(one.name for one in config.hosted)])
        raise ConfigError("is no system with a prompt", got=options.system, where="--system", fix=f"one of {known}")
    if config.kind == "preference":
        fix = "tune the prompt of a task whose answers are written"
        raise ConfigError("for kind preference no prompt is tuned: a pair is compared", where="kind", fix=fix)
    few = options.system == "few_shot" or (hosted is not None and hosted.prompt == "few_shot")
    return Way(**{part: values[0] for part, values in ways(config, few=few).items()})


@dataclass
class _Search:
    """The state of a search: everything that counts is on disk."""

    folder: Path
    options: Options
    way: Way
    bench: Bench
    prepared: Prepared
    examples: Sequence[Example]
    progress: Progress

    def run(self, loaded: LoadedTask) -> None:
        """Measure what the task file has, then round after round what is proposed."""
        for instruction in dict.fromkeys([loaded.config.instruction, *loaded.config.prompt.instructions]):
            self._measured(instruction)
        proposer: Proposer | None = None
        for number in range(1, self.options.rounds + 1):
            if self._best().value >= 1.0:
                self.progress.notice("every validation example is answered rightly: there is nothing to improve")
                return
            known = self._rounds()
            if number > len(known):
                proposer = proposer or make_proposer(self.options.model, loaded, self.bench, self.progress)
                self.progress.stage(
                    f"round {number} of {self.options.rounds}", f"{proposer.name} writes instructions"
                )
                known = [*known, self._propose(number, proposer, loaded.config.seed)]
            for instruction in known[number - 1]:
                self._measured(instruction)

    def _rounds(self) -> list[list[str]]:
        path = self.folder / ROUNDS
        return [list(line["candidates"]) for line in read_jsonl(path)] if path.exists() else []

    def _trials(self) -> list[PromptTrial]:
        path = self.folder / TRIALS
        lines = read_jsonl(path) if path.exists() else []
        return [from_json(PromptTrial, line, str(path)) for line in lines]

    def _best(self) -> PromptTrial:
        """The highest value, the earliest of equals: a tie leaves the task file as it is."""
        return max(self._trials(), key=lambda trial: trial.value)

    def _predictions(self, place: int) -> Path:
        return self.folder / "predictions" / f"{place:03d}.jsonl"

    def _measured(self, instruction: str) -> None:
        trials = self._trials()
        if any(trial.instruction == instruction for trial in trials):
            return
        self.progress.stage(f"trial {len(trials)}", " ".join(instruction.split())[:100])
        found = self.bench.predict_as(self.options.system, self._with(instruction), self.examples)
        task = self.prepared.task
        value = primary_value(task, self.examples, found)
        write_predictions(self._predictions(len(trials)), found)
        trial = PromptTrial(
            system=self.options.system,
            instruction=instruction,
            k=self.way.k,
            select=self.way.select,
            examples=len(self.examples),
            metric=task.metrics[0].name,
            value=value,
            prompt_tokens=float(np.mean([one.prompt_tokens for one in found])),
            seconds=float(np.mean([one.seconds for one in found])),
        )
        append_jsonl(self.folder / TRIALS, [trial])
        best = self._best()
        tail = "" if best.instruction == instruction else f"; best so far {best.value:.3f}"
        self.progress.notice(f"trial {len(trials)}: {trial.metric} {value:.3f}{tail}")

    def _with(self, instruction: str) -> Way:
        return self.way._replace(instruction=instruction)

    def _propose(self, number: int, proposer: Proposer, seed: int) -> list[str]:
        """New instructions, kept in rounds.jsonl with what they were made from."""
        best, trials = self._best(), self._trials()
        mistakes, good, asked = self._cases(best.instruction, number)
        others = sorted((one for one in trials if one.instruction != best.instruction), key=lambda one: -one.value)
        count = self.options.candidates

        def conversation(rows: int) -> list[Message]:
            return request(
                Tried(best.instruction, best.value),
                [Tried(one.instruction, one.value) for one in others],
                mistakes[:rows],
                good[: max(0, rows - len(mistakes))],
                metric=best.metric,
                count=count,
            )

        answer = proposer.write(conversation, len(mistakes) + len(good), count, seed + number)
        candidates = read_instructions(answer, [trial.instruction for trial in trials], count)
        if not candidates:
            self.progress.notice(f"{proposer.name} wrote no new instruction that can be read", warning=True)
        line = {"round": number, "model": proposer.name, "best": best.instruction, "wrong": len(mistakes),
                "asked": asked, "answer": answer, "candidates": candidates}  # fmt: skip
        append_jsonl(self.folder / ROUNDS, [line])
        return candidates

    def _cases(self, instruction: str, number: int) -> tuple[list[Case], list[Case], int]:
        """Training rows that the instruction gets wrong and right, and how many were asked; others each round."""
        train, task = self.prepared.split.train, self.prepared.task
        begin = (number - 1) * SAMPLE % max(1, len(train))
        rows = (train[begin:] + train[:begin])[:SAMPLE]
        found = self.bench.predict_as(self.options.system, self._with(instruction), rows)
        metric = task.metrics[0]
        cases = []
        for row, one in zip(rows, found, strict=True):
            right = float(metric.value(metric.counts(row, one.parsed))) >= 1.0
            text = "\n".join(turn.content for turn in row.messages if turn.role not in ("system", "developer"))
            cases.append(Case(text, task.answer(row).content, None if right else one.text))
        wrong = [case for case in cases if case.answer is not None]
        good = [case for case in cases if case.answer is None] or wrong[MISTAKES:]
        return wrong[:MISTAKES], [case._replace(answer=None) for case in good[:GOOD]], len(rows)

    def result(self, name: str, model: str, seed: int) -> PromptTuning:
        """What was found, with the paired interval of the gain."""
        trials = self._trials()
        best = max(range(len(trials)), key=lambda place: (trials[place].value, -place))
        gain = None if best == 0 else self._gain(best, seed)
        rounds = min(len(self._rounds()), self.options.rounds)
        return PromptTuning(
            name=name,
            path=str(self.folder),
            system=self.options.system,
            model=model,
            metric=trials[0].metric,
            examples=len(self.examples),
            rounds=rounds,
            trials=tuple(trials),
            best=best,
            gain=gain,
            remarks=tuple(_remarks(trials, best, gain, rounds)),
        )

    def _gain(self, best: int, seed: int) -> Paired:
        ours: list[Prediction] = read_predictions(self._predictions(best))
        own: list[Prediction] = read_predictions(self._predictions(0))
        return compare(
            self.prepared.task, self.examples, ours, own, candidate=f"trial {best}", baseline="trial 0", seed=seed
        )


def _remarks(trials: Sequence[PromptTrial], best: int, gain: Paired | None, rounds: int) -> Iterator[str]:
    others = len(trials) - 1
    if others == 0 and rounds == 0:
        yield "Nothing else was tried: the task file's own instruction leaves nothing to improve."
    elif others == 0:
        yield "The model wrote no other instruction that could be tried: keep the task file's own."
    elif gain is None:
        yield f"None of {others} other instructions was better than the task file's own: keep it."
    elif gain.low <= 0:
        yield (
            f"The gain may be chance: its interval, {100 * gain.low:+.1f} to {100 * gain.high:+.1f} points, holds "
            "zero. More validation examples (--examples, split.validation) tell more."
        )
    if best:
        yield (
            f"The best of {len(trials)} instructions on {trials[0].examples} validation examples looks better than "
            "it is: it was chosen for these. What it is worth, only the sealed test says: `burnish run` with it."
        )
