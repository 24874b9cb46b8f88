"""Further data sets in a run's training: read, answered by the untuned model where asked, encoded, dealt out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from burnish.config import LoadedTask
from burnish.data.mixture import BUILT_IN_REPLAY, Extra, epoch_counts, epoch_places, needed, read_extra
from burnish.errors import ConfigError, RunError, TrainingError
from burnish.progress import Progress
from burnish.records import Example, Json
from burnish.runs import RunFolder, read_jsonl, write_jsonl
from burnish.tasks.plain_chat import PLAIN_CHAT

if TYPE_CHECKING:
    from burnish.models.chat import Chat
    from burnish.models.generate import Engine
    from burnish.training.encode import Turns
    from burnish.training.objectives.base import Item

REPLAY = "replay"
ANSWERS = "replay.jsonl"  # in the run folder: what the untuned model answered
ANSWER_TOKENS = 256  # longest answer of the untuned model that is rehearsed


def read_extras(loaded: LoadedTask, progress: Progress) -> tuple[Extra, ...]:
    """The data sets of `mixture` and `replay`. Raises DataError for bad rows, ConfigError for a name used twice."""
    config = loaded.config
    extras = [
        read_extra(
            source.file,
            name=source.name or source.file[0].stem,
            seed=config.seed,
            weight=1.0 if source.weight is None and source.share is None else source.weight,
            share=source.share,
            format=source.format,
            text=source.text,
            target=source.target,
            instruction=source.instruction,
            on_file=progress.notice,
        )
        for source in config.mixture
    ]
    replay = config.replay
    if replay.share:
        base = replay.answers == "base" or (replay.answers == "auto" and not replay.file)
        files = replay.file or [BUILT_IN_REPLAY]
        extras.append(read_extra(files, name=REPLAY, seed=config.seed, share=replay.share, base_answers=base))
    names = [extra.name for extra in extras]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            "two data sets of the mixture have one name", got=twice, where="mixture", fix="give them a name: each"
        )
    return tuple(extras)


def keep_mixture(folder: RunFolder, extras: Sequence[Extra]) -> None:
    """Note the data sets in run.json; a resumed run must find the same."""
    about = [
        {
            "name": extra.name,
            "rows": len(extra.rows),
            "weight": extra.weight,
            "share": extra.share,
            "answers": "base" if extra.base_answers else "given",
            "fingerprint": extra.fingerprint,
        }
        for extra in extras
    ]
    known = folder.record().get("mixture") or []
    before, now = ({one["name"]: one["fingerprint"] for one in part} for part in (known, about))
    if known and before != now:
        raise RunError(
            "the data sets of the mixture have changed since the run began",
            got=", ".join(sorted(str(name) for name in now if before.get(name) != now[name])),
            where=str(folder.path),
            fix="restore them, or begin anew without --resume",
        )
    if about and not known:
        folder.update(mixture=about)


class Mixed(NamedTuple):
    """rows: all that are ever seen. epoch: places in rows of what epoch 0, 1, … holds, the same number each time.

    about: counts of each data set, for run.json.
    """

    rows: list[Item]
    epoch: Callable[[int], list[int]]
    about: list[dict[str, Json]]


def mixed_rows(
    own: Sequence[Item],
    extras: Sequence[Extra],
    *,
    chat: Chat,
    max_length: int,
    turns: Turns,
    epochs: float,
    progress: Progress,
) -> Mixed:
    """The task's encoded rows with those of the further data sets, all of which have their answers.

    Rows longer than max_length are left out and told. TrainingError: a data set has no row left, or the task is not
    learned from single answers (pairs cannot be mixed with chat).
    """
    from burnish.training.encode import encode

    if extras and any(len(item.sequences) != 1 for item in own):
        fix = "delete mixture and replay, or train with the objective sft"
        raise TrainingError("mixture and replay go with single answers, not with pairs", where="mixture", fix=fix)
    counts = epoch_counts(len(own), [(extra.size, extra.weight, extra.share) for extra in extras])
    total = len(own) + sum(counts)
    pools: list[list[Item]] = []
    about: list[dict[str, Json]] = []
    for extra, count in zip(extras, counts, strict=True):
        rows = extra.rows[: needed(len(extra.rows), count, epochs)]
        encoding = encode(rows, PLAIN_CHAT, chat, full=False, max_length=max_length, turns=turns)
        if encoding.too_long:
            told = f"{len(encoding.too_long)} of {len(rows)} rows of {extra.name} are longer than {max_length} tokens"
            progress.notice(f"{told} and are left out", warning=True)
        if not encoding.rows and count:
            raise TrainingError(
                f"no row of {extra.name} is left to train on",
                where="replay" if extra.name == REPLAY else "mixture",
                fix="raise training.max_length, or set replay.answers: given",
            )
        pools.append(encoding.rows)
        about.append({"per_epoch": count, "share_of_epoch": round(count / total, 4), "used": len(encoding.rows)})
        told = f"{extra.name}: {count:,} of {total:,} examples an epoch ({count / total:.1%})"
        repeats = f", from {len(encoding.rows):,} rows" if count > len(encoding.rows) else ""
        progress.notice(told + repeats)

    def epoch(number: int) -> list[int]:
        places, start = list(range(len(own))), len(own)
        for pool, count in zip(pools, counts, strict=True):
            places += [start + place for place in epoch_places(len(pool), count, number)]
            start += len(pool)
        return places

    return Mixed([*own, *(row for pool in pools for row in pool)], epoch, about)


def write_answers(
    extras: Sequence[Extra], path: Path, engine: Callable[[], Engine], progress: Progress, *, own: int, epochs: float
) -> None:
    """Let the untuned model answer, greedily, what its answers are to be rehearsed of; `path` keeps them.

    Rehearsing a network's own responses instead of its old data is Robins 1995 (pseudo-rehearsal); with language
    models Huang et al. 2024 (self-synthesized rehearsal). own: the task's training rows, epochs: of them; no more
    rows are answered than are seen. Nothing is done when the file is there.
    """
    if path.exists() or not any(extra.base_answers for extra in extras):
        return
    counts = epoch_counts(own, [(extra.size, extra.weight, extra.share) for extra in extras])
    rows = [
        row
        for extra, count in zip(extras, counts, strict=True)
        if extra.base_answers
        for row in extra.rows[: needed(extra.size, count, epochs)]
    ]
    lines = _ask(rows, engine(), progress)
    write_jsonl(path, lines)
    unfit = sum(not _fit(line) for line in lines)
    if unfit:
        told = (
            f"{unfit} of {len(lines)} answers of the untuned model were empty or longer than {ANSWER_TOKENS} tokens"
        )
        progress.notice(f"replay: {told} and are left out")


def answered(extras: Sequence[Extra], path: Path) -> tuple[Extra, ...]:
    """The data sets with what `write_answers` kept; rows without an answer are left out, never one that was cut."""
    if not any(extra.base_answers for extra in extras):
        return tuple(extras)
    answers = {line["id"]: line["answer"] for line in read_jsonl(path) if _fit(line)}

    def filled(extra: Extra) -> Extra:
        rows = tuple(replace(row, target=answers[row.id]) for row in extra.rows if row.id in answers)
        return extra._replace(rows=rows)

    return tuple(filled(extra) if extra.base_answers else extra for extra in extras)


def _fit(line: dict[str, Json]) -> bool:
    return not line["cut"] and bool(line["answer"].strip())


def _ask(rows: Sequence[Example], engine: Engine, progress: Progress) -> list[dict[str, Any]]:
    from burnish.models.generate import Request

    requests = [
        Request(tuple(engine.chat.prompt(PLAIN_CHAT.messages(row, full=False))), ANSWER_TOKENS, None) for row in rows
    ]
    done = engine.generate(
        requests, on_progress=lambda part, whole: progress.advance("answers of the untuned model", part, whole)
    )
    return [
        {
            "id": row.id,
            "messages": [{"role": turn.role, "content": turn.content} for turn in row.messages],
            "answer": completion.text,
            "cut": completion.finish != "stop",
        }
        for row, completion in zip(rows, done, strict=True)
    ]
