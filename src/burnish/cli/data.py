"""Before a run: `burnish init`, `schema`, `check`, `tokens`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from burnish.cli.fixing import CopiesFolder, FixActions, chosen_actions, write_copies
from burnish.cli.inspection import HtmlFile, Inspector, RequestsFile, SampleSize, UseEmbeddings
from burnish.cli.options import AllowBadRows, AsJson, Overrides, TaskFile
from burnish.cli.shell import print_json, show
from burnish.errors import ConfigError, Problem
from burnish.records import Json, Kind

if TYPE_CHECKING:
    from burnish.config import DataConfig, LoadedTask, TaskConfig
    from burnish.data.check import Checked
    from burnish.data.checks.names import FindNames
    from burnish.models.chat import Chat, Rendered
    from burnish.progress import Progress

FINDINGS_STATUS = 1
TASK_SUFFIXES = (".yaml", ".yml", "")


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into.", show_default=False)],
    kind: Annotated[Kind, typer.Option("--kind", help="What the answers are.")] = "classification",
) -> None:
    """Write a commented task file that runs, with sample data to replace by your own."""
    from burnish.config import init_task

    for path in init_task(folder, kind):
        typer.echo(path)
    typer.echo(f"Next: burnish check {folder}, then burnish run {folder}")


def schema() -> None:
    """Print the JSON Schema of the task file, for editors that complete and check it."""
    from burnish.config import json_schema_of_task_file

    print_json(json_schema_of_task_file())


def check(
    source: Annotated[
        Path,
        typer.Argument(metavar="TASK|FILE", help="A task (file or folder), or a file of rows.", show_default=False),
    ],
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Of a data file: what the answers are (default: guessed).")
    ] = None,
    embeddings: UseEmbeddings = None,
    sample: SampleSize = 5000,
    requests: RequestsFile = None,
    html: HtmlFile = None,
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", metavar="FILE", help="Test material that no row to train on may hold. Repeatable."),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Look for names of persons, too (burnish[presidio] and a spaCy model).")
    ] = False,
    names_model: Annotated[
        str | None, typer.Option("--names-model", metavar="MODEL", help="spaCy model that finds them.")
    ] = None,
    fix: FixActions = None,
    out: CopiesFolder = None,
    as_json: AsJson = False,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> int:
    """Look for what is wrong with labelled data: copies, contradictions, leaks, personal data, wrong answers.

    Exit status: 0 nothing grave, 1 findings of severity error, 2 rows that cannot be read.
    """
    from burnish.config import CheckConfig
    from burnish.prepare import names_of
    from burnish.reports.terminal import TerminalProgress
    from burnish.reports.views import data_report_view

    actions = chosen_actions(fix, out)
    looked_for = _names_settings(names, names_model)
    with TerminalProgress() as progress:
        inspector = Inspector(embeddings, sample, requests, progress)
        if source.is_dir() or source.suffix.lower() in TASK_SUFFIXES:
            if kind is not None:
                fix = "set kind: in the task file, or check its data file by itself"
                raise ConfigError("a task has its own kind", got=kind, where="--kind", fix=fix)
            settings = [*(overrides or []), *(f"check.{key}={value}" for key, value in looked_for.items())]
            checked, finder = _check_task(source, settings, allow_bad_rows, against or [], progress, inspector)
        else:
            reading = _reading(source, kind, overrides or [])
            finder = names_of(CheckConfig.model_validate(looked_for))
            checked = _check_file(source, kind, reading, allow_bad_rows, against or [], finder, progress, inspector)
        for file in checked.files:
            progress.notice(str(file))
        for problem in checked.problems:
            progress.notice(str(problem).replace("\n", " "), warning=True)
        if checked.bad:
            allowed = checked.bad <= allow_bad_rows
            one = checked.bad == 1
            said = f"bad {'row was' if one else 'rows were'} left out, as --allow-bad-rows allows"
            said = said if allowed else f"{'row' if one else 'rows'} cannot be used"
            progress.notice(f"{checked.bad:,} {said}", warning=True)
        checked = checked._replace(report=inspector.complete(checked.report))
        if html is not None:
            from burnish.reports.check_page import write_check_page

            write_check_page(str(source), checked.report, inspector.found, html)
            progress.notice(f"page: {html}")
        cleaned = write_copies(checked, actions, out, finder, progress) if actions else []
    if as_json:
        print_json(_as_json(checked) | ({"fixes": [item._asdict() for item in cleaned]} if actions else {}))
    else:
        show(data_report_view(checked.report))
        if inspector.found is not None:
            from burnish.reports.inspection import inspection_view

            show(inspection_view(inspector.found))
    return FINDINGS_STATUS if any(f.severity == "error" for f in checked.report.findings) else 0


def _names_settings(names: bool, model: str | None) -> dict[str, Json]:
    """The settings below `check` that the options stand for."""
    if model is not None and not names:
        raise ConfigError("no names are looked for", got=model, where="--names-model", fix="add --names")
    return ({"names": True} if names else {}) | ({} if model is None else {"names_model": model})


def _reading(path: Path, kind: Kind | None, overrides: list[str]) -> DataConfig | None:
    """How a file's rows are read, from --set data.…; None for as usual. Raises ConfigError."""
    from burnish.config import task_from

    others = [text for text in overrides if not text.strip().startswith("data.")]
    if others:
        fix = "name the task instead of its data file"
        what = "of a data file only the settings below data can be set"
        raise ConfigError(what, got=others, where="--set", fix=fix)
    if not overrides or not path.is_file():
        return None
    task: dict[str, Json] = {"name": "file", "kind": kind or "tool_calling", "instruction": "-", "data": str(path)}
    schema: dict[str, Json] = {"schema": {"type": "object"}} if kind == "extraction" else {}
    return task_from(task | schema, overrides=overrides).config.data


def _check_file(
    path: Path,
    kind: Kind | None,
    reading: DataConfig | None,
    allow_bad_rows: int,
    against: list[Path],
    names: FindNames | None,
    progress: Progress,
    inspector: Inspector,
) -> Checked:
    from burnish.data.check import check_files
    from burnish.data.guess import guess_kind
    from burnish.data.read import container
    from burnish.prepare import data_options

    chosen = kind or (guess_kind(path, reading.target, reading.answers) if reading else guess_kind(path))
    if kind is None and not isinstance(container(path), Problem):
        progress.notice(f"kind: {chosen} (guessed from the first rows; --kind says otherwise)")
    observe = inspector.observer(chosen, reading)
    return check_files(
        path,
        kind=chosen,
        allow_bad_rows=allow_bad_rows,
        against=against,
        names=names,
        observe=observe,
        **(data_options(reading) if reading else {}),
    )


def _check_task(
    path: Path,
    overrides: list[str],
    allow_bad_rows: int,
    against: list[Path],
    progress: Progress,
    inspector: Inspector,
) -> tuple[Checked, FindNames | None]:
    """Streamed, with the task's own settings and its model's tokens; and what finds names of persons."""
    from burnish.config import load_task
    from burnish.data.check import check_files
    from burnish.data.places import near
    from burnish.prepare import names_of, reading_options, token_counter
    from burnish.searching import Documents
    from burnish.tasks import make_task

    loaded = load_task(path, overrides)
    for notice in loaded.notices:
        progress.notice(notice)
    config, names = loaded.config, names_of(loaded.config.check, loaded.base_dir)
    facts = _first_pass(loaded)
    task = make_task(config, facts.labels, shared_tools=facts.shared_tools, base_dir=loaded.base_dir)
    checked = check_files(
        [near(file) for file in config.data.train],
        validation=[near(file) for file in config.data.validation],
        test=[near(file) for file in config.data.test],
        stratum=task.stratum,
        count_tokens=token_counter(loaded, task, Documents(loaded, progress).retriever, progress),
        max_length=config.training.max_length,
        against=[*map(near, config.data.contamination), *against],
        names=names,
        allow_bad_rows=allow_bad_rows,
        observe=inspector.observer(config.kind, config.data),
        **reading_options(loaded),
    )
    _tell_power(config, checked.report.rows, progress)
    return checked, names


def _tell_power(config: TaskConfig, rows: int, progress: Progress) -> None:
    """What the test that `burnish run` will cut can show. A test given as files is not counted apart here."""
    from burnish.evaluation.power import outlook

    size = config.split.test
    examples = int(rows * size if size < 1 else size)
    if examples and not config.data.test:
        told, little = outlook(examples, config.goal.margin)
        progress.notice(told, warning=little)


class _Facts(NamedTuple):
    labels: tuple[str, ...]
    shared_tools: bool


def _first_pass(loaded: LoadedTask) -> _Facts:
    """What the prompt depends on and only the data tell: the labels, and whether all rows have the same tools.

    A pass of its own, so that the check itself needs no row in memory; only for tasks where it makes a difference.
    """
    from burnish.data.load import iter_examples
    from burnish.prepare import reading_options
    from burnish.records import Example

    config = loaded.config
    if config.kind == "classification" and config.labels:
        return _Facts(tuple(config.labels), False)
    if config.kind not in ("classification", "tool_calling"):
        return _Facts((), False)
    files = [*config.data.train, *config.data.validation, *config.data.test]
    labels: set[str] = set()
    first: Any = None
    shared = True
    for item in iter_examples(files, **reading_options(loaded)):
        if isinstance(item, Example):
            first = item.tools if first is None else first
            shared = shared and item.tools == first
            if config.kind == "classification":
                labels.add(str(item.target))
    return _Facts(tuple(sorted(labels)), shared)


def _as_json(checked: Checked) -> dict[str, Any]:
    return {
        "rows": checked.report.rows,
        "bad_rows": checked.bad,
        "problems": checked.problems,
        "files": [file._asdict() for file in checked.files],
        "findings": checked.report.findings,
        "stats": checked.report.stats,
    }


def tokens(
    task: TaskFile,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many examples.")] = 3,
    plain: Annotated[
        bool, typer.Option("--plain", help="Mark labelled tokens with ⟦ ⟧ (always so when not on a terminal).")
    ] = False,
    as_json: AsJson = False,
    full: Annotated[
        bool, typer.Option("--full", help="With the prompt that holds the labels or the schema.")
    ] = False,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> None:
    """Show training examples as the model sees them: prompt, and the labelled tokens it learns to write.

    The examples are of the train part, never of the sealed test. With training.context: retrieved they have their
    passages, as many as the run may choose.
    """
    from burnish.config import load_task
    from burnish.models.chat import Chat
    from burnish.models.load import load_tokenizer
    from burnish.prepare import prepare
    from burnish.reports.terminal import TerminalProgress
    from burnish.searching import as_trained, most_passages
    from burnish.tasks.preference import answers_think, learned_answers

    loaded = load_task(task, overrides or ())
    with TerminalProgress(quiet=as_json) as progress:
        for notice in loaded.notices:
            progress.notice(notice)
        prepared = prepare(loaded, allow_bad_rows=allow_bad_rows, progress=progress)
        tokenizer = load_tokenizer(loaded.config.model, base_dir=loaded.base_dir, progress=progress)
        chat = Chat(tokenizer, thinks=answers_think(prepared.task, prepared.split.train))
        for notice in chat.notices:
            progress.notice(notice)
        shown = as_trained(loaded, prepared.task, chat, prepared.documents.rows)(prepared.split.train[:number])
        if loaded.config.training.context == "retrieved":
            progress.notice(f"shown with {most_passages(loaded.config)}")
    with_labels = full or loaded.config.training.prompt == "full"
    learned = [(example, *one) for example in shown for one in learned_answers(prepared.task, example)]
    rendered = [
        chat.render(prepared.task.messages(example, full=with_labels), answer) for example, _, answer in learned
    ]
    if as_json:
        lines = [
            {"id": example.id, "file": example.source.file, "line": example.source.line}
            | {"tokens": one.tokens, "prompt_length": one.prompt_length, "labelled": one.labelled}
            | {"pieces": [{"text": text, "labelled": labelled} for text, labelled in pieces(chat, one)]}
            | ({"answer": which} if which else {})
            for (example, which, _), one in zip(learned, rendered, strict=True)
        ]
        print_json({"model": loaded.config.model, "full": with_labels, "examples": lines}, indent=None)
        return
    places = [f"{example.source.file}:{example.source.line} {which}".rstrip() for example, which, _ in learned]
    _show_tokens(chat, places, rendered, plain, loaded.config.training.max_length)


def _show_tokens(chat: Chat, places: list[str], rendered: list[Rendered], plain: bool, max_length: int) -> None:
    import sys

    from rich.text import Text

    from burnish.reports.terminal import is_live
    from burnish.reports.views import tokens_view

    plain = plain or not is_live(sys.stdout)
    for place, one in zip(places, rendered, strict=True):
        head = f"{place}  {len(one.tokens):,} tokens, {sum(one.labelled):,} of them labelled"
        if len(one.tokens) > max_length:
            head += f"; longer than max_length {max_length:,}, so it is left out of training"
        show(Text(head, style="bold"))
        view = tokens_view(pieces(chat, one), plain=plain)
        if plain:
            typer.echo(view.plain)  # as it is: a pipe has no width to fold at
        else:
            show(view)
        show("")


def pieces(chat: Chat, rendered: Rendered) -> list[tuple[str, bool]]:
    """The text of each token and whether it is labelled. Tokens that hold parts of one character go together."""
    found: list[tuple[str, bool]] = []
    held: list[int] = []
    last = len(rendered.tokens) - 1
    for index, (token, labelled) in enumerate(zip(rendered.tokens, rendered.labelled, strict=True)):
        held.append(token)
        text = str(chat.tokenizer.decode(held))
        ends = index == last or rendered.labelled[index + 1] != labelled
        if "\ufffd" not in text or ends or len(held) >= 4:  # no character of UTF-8 has more than four bytes
            found.append((text, labelled))
            held = []
    return found
