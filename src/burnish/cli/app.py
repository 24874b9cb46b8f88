"""All commands by name, in the order of the work."""

from __future__ import annotations

from typing import Annotated

import typer

from burnish.cli import (
    advise,
    cost,
    data,
    estimate,
    export,
    machine,
    next_labels,
    predict,
    probe,
    prompt,
    run,
    runs,
    tune,
    versions,
)
from burnish.cli.fixing import FixCommand
from burnish.cli.options import examples
from burnish.cli.shell import Shell

app = typer.Typer(
    cls=Shell,
    rich_markup_mode=None,  # rich's help takes as long to import as everything else together
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "burnish init my-task --kind classification",
        "burnish check my-task",
        "burnish run my-task",
        "burnish predict latest 'where is my parcel?'",
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        machine.version()
        raise typer.Exit


@app.callback(invoke_without_command=True)
def burnish(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune language models with evidence: labelled examples in, a model proven better than the prompt out."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command(
    "init",
    short_help="Write a task file that runs, with sample data.",
    epilog=examples("burnish init my-task --kind extraction"),
)(data.init)
app.command(
    "check",
    cls=FixCommand,
    short_help="Look for what is wrong with labelled data.",
    epilog=examples(
        "burnish check my-task",
        "burnish check rows.csv --kind classification --set data.text=body --set data.target=team",
        "burnish check my-task --requests requests.txt --html check.html",
        "burnish check rows.jsonl --fix",
        "burnish check rows.jsonl --fix drop,redact --out cleaned",
        "burnish check my-task --against exam.jsonl",
        "burnish check my-task --json | jq '.findings[] | select(.severity == \"error\")'",
    ),
)(data.check)
data_app = typer.Typer(cls=Shell, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(
    data_app,
    name="data",
    short_help="Versions of data, where rows came from, what to label next.",
    help="Versions of data, where a run's rows came from, and which rows to label next.",
    epilog=examples(
        "burnish data diff latest my-task",
        "burnish data lineage latest",
        "burnish data next my-task --from unlabelled.txt",
    ),
)
data_app.command(
    "diff",
    short_help="What happened between two versions of data.",
    epilog=examples(
        "burnish data diff old.jsonl new.jsonl",
        "burnish data diff latest my-task --json | jq .moved.counts",
    ),
)(versions.diff)
data_app.command(
    "lineage",
    short_help="Where a run's examples came from.",
    epilog=examples(
        "burnish data lineage latest",
        "burnish data lineage latest rows.jsonl:17",
        "burnish data lineage rows.clean.jsonl rows.jsonl:17",
    ),
)(versions.lineage)
data_app.command(
    "next",
    short_help="Which rows to label next.",
    epilog=examples("burnish data next my-task --from unlabelled.txt -n 100 --out to-label.jsonl"),
)(next_labels.next_labels)
app.command(
    "tokens",
    short_help="Show training examples as the model sees them.",
    epilog=examples("burnish tokens my-task", "burnish tokens my-task -n 1 --full --plain"),
)(data.tokens)
app.command(
    "estimate",
    short_help="Say what a training takes: memory, time, energy.",
    epilog=examples(
        "burnish estimate my-task",
        "burnish estimate my-task --on rtx-4090 --fit",
        "burnish estimate --model llama-3.1-8b --method qlora --on rtx-3060-12gb --fit",
        "burnish estimate my-task --json | jq .memory",
    ),
)(estimate.estimate)
app.command(
    "advise",
    short_help="Prompt, retrieval, probe or fine-tune: measured, and one recommended.",
    epilog=examples(
        "burnish advise my-task",
        "burnish advise my-task --no-train --systems prompt,embedding_probe",
        "burnish advise my-task --json | jq .recommendation.choice",
    ),
)(advise.advise)
app.command(
    "cost",
    short_help="Say what training, data and requests cost.",
    epilog=examples(
        "burnish cost my-task",
        "burnish cost latest --requests-per-day 10000 --html cost.html",
        "burnish cost latest --serve api/gpt-4o-mini --system large=1200,60@api/gpt-4.1",
        "burnish cost my-task --device l4 --price gpu/l4=0.5 --wage 40 --json | jq .training",
    ),
)(cost.cost)
app.command(
    "run",
    short_help="From labelled examples to a verdict: ship or hold.",
    epilog=examples(
        "burnish run my-task",
        "burnish run my-task --set training.num_epochs=1 --set training.lora_r=32",
        "burnish run my-task --resume",
        "burnish run my-task --json --quiet | jq .verdict",
    ),
)(run.run)
app.command(
    "tune",
    short_help="Search training settings on the validation part.",
    epilog=examples(
        "burnish tune my-task",
        "burnish tune my-task --trials 40 --search learning_rate,batch_size",
        "burnish tune my-task --resume",
        "burnish tune my-task --write my-task/tuned.yaml",
    ),
)(tune.tune)
prompts = typer.Typer(
    cls=Shell,
    rich_markup_mode=None,
    help="Improve what models are told.",
    no_args_is_help=True,
    epilog=examples("burnish prompt tune my-task", "burnish prompt tune --help"),
)
prompts.command(
    "tune",
    short_help="Improve an instruction with any chat model, measured on validation.",
    epilog=examples(
        "burnish prompt tune my-task",
        "burnish prompt tune my-task --model large --rounds 5 --candidates 6",
        "burnish prompt tune my-task --system few_shot --resume",
        "burnish prompt tune my-task --json | jq .gain",
    ),
)(prompt.tune)
app.add_typer(prompts, name="prompt", short_help="Improve instructions: burnish prompt tune.")
app.command(
    "runs",
    short_help="List the runs, the newest first.",
    epilog=examples("burnish runs", "burnish runs --json | jq '.[0].run_id'"),
)(runs.runs)
app.command(
    "show",
    short_help="Show a run: systems, verdict, reasons.",
    epilog=examples("burnish show", "burnish show my-task-2026 --json"),
)(runs.show_run)
app.command(
    "diff", short_help="Compare two runs.", epilog=examples("burnish diff my-task-20261122-101500-d2bb20 latest")
)(runs.diff)
app.command(
    "predict",
    short_help="Answer inputs with a tuned model.",
    epilog=examples(
        "burnish predict latest 'where is my parcel?'",
        "burnish predict latest --file inputs.csv --output answers.jsonl",
        "burnish predict latest --system few_shot 'where is my parcel?'",
        "cat inputs.txt | burnish predict latest > answers.txt",
    ),
)(predict.predict)
app.command(
    "export",
    short_help="Write a tuned model for other programs.",
    epilog=examples("burnish export latest my-model", "burnish export latest my-adapter --adapter"),
)(export.export)
app.command(
    "probe",
    short_help="Ask a model general questions, before and after tuning.",
    epilog=examples(
        "burnish probe smollm2-135m-instruct",
        "burnish probe latest --file questions.jsonl --questions 200",
        "burnish probe latest --json | jq .forgetting",
    ),
)(probe.probe)
app.command(
    "report",
    short_help="Write a run's report and model card again.",
    epilog=examples("burnish report", "burnish report latest"),
)(runs.report)
app.command(
    "models",
    short_help="List the models that Burnish fetches by itself.",
    epilog=examples("burnish models", "burnish models --json"),
)(machine.models)
app.command(
    "schema",
    short_help="Print the JSON Schema of the task file.",
    epilog=examples("burnish schema > burnish.schema.json"),
)(data.schema)
app.command(
    "doctor",
    short_help="Look at this machine and say what is amiss.",
    epilog=examples("burnish doctor", "burnish doctor --json"),
)(machine.doctor)
app.command("version", short_help="Print the version.", epilog=examples("burnish version"))(machine.version)
