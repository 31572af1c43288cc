"""The commands by name: where each lives and what it is for; its module waits until it is called.

The help of the whole program needs one line a command and nothing else. So the lines stand here,
and a command's module (its flags, what it imports) is loaded when somebody calls that command.
`tests/moeserve/test_commands.py` holds each line equal to the first of the command's own help.
"""

import importlib
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group


class Listed(NamedTuple):
    """A command as the list shows it."""

    module: str
    """Below `moeserve.cli`; its `add_to` adds the command to a Typer."""
    about: str


COMMANDS = {
    "run": Listed("run", "Run the main job: plan, launch, load, record, summarise."),
    "plan": Listed(
        "run",
        "Show what `run` would do with the same flags: servers, runs, GPUs; start nothing.",
    ),
    "init": Listed("init", "Write a commented experiment to begin with."),
    "schema": Listed("init", "Print the JSON schema of an experiment's file, for editors."),
    "results": Listed("results", "Print the run table of a results directory, one row a run."),
    "export": Listed(
        "export", "Hand runs on: Prometheus text, OpenTelemetry's JSON, or runs of MLflow."
    ),
    "verify": Listed(
        "results",
        "Re-read everything: hashes, counts, identities, and every summary from its rows.",
    ),
    "watch": Listed(
        "watch",
        "Show a study in the browser: progress, results so far, failures with their logs.",
    ),
    "import": Listed(
        "importer",
        "Import results of other tools: vllm bench serve and sweep, GuideLLM, AIPerf, genai-perf,\n"
        "SGLang, inference-perf, InferenceX, LLMPerf, or a printed «Serving Benchmark Result».",
    ),
    "tables": Listed(
        "analyze",
        "Print the parallelism paper's Tables IV, V, VI and VII from any results.",
    ),
    "anova": Listed("analyze", "Test which factor moves the response: F, df, p, η², ω²."),
    "compare": Listed(
        "analyze", "Compare strategies with each other: ratio, interval, test, verdict."
    ),
    "plot": Listed("analyze", "Draw a figure as SVG, PDF or PNG."),
    "report": Listed(
        "analyze", "Write one self-contained HTML page: question, answer, and the evidence."
    ),
    "estimate": Listed(
        "estimate",
        "Say what a layout will do under load; the same flags as `run`, nothing started.",
    ),
    "autotune": Listed(
        "autotune", "Rank every way to divide GPUs over tp, pp, ep, dp and cache parallelism."
    ),
    "qs": Listed(
        "qs",
        "Does a dense model of the same quality read fewer weight bytes? (It does if q s < 1.)",
    ),
    "quality": Listed(
        "quality",
        "Measure quality over the OpenAI API: perplexity, and agreement with a reference.",
    ),
    "routing": Listed(
        "routing",
        "Say which experts a text's tokens go to, and by how much random ids misjudge it.",
    ),
    "select": Listed(
        "select", "Choose a technique or configuration under limits, from results or any table."
    ),
    "diffusion": Listed(
        "diffusion",
        "Measure diffusion language models: steps, generation length, and how experts are "
        "computed.",
    ),
    "serve": Listed(
        "serve",
        "Start one server of a layout in the foreground; Ctrl-C ends it and all it started.",
    ),
    "models": Listed(
        "facts", "List the models in the catalog, or show how a configuration is read."
    ),
    "hardware": Listed("hardware", "List GPUs and links."),
    "strategies": Listed("facts", "List layouts and their knobs."),
    "techniques": Listed("facts", "List techniques, their knobs, and which engines do them."),
    "papers": Listed(
        "papers",
        "List every item of the four papers: its command, what comes out, whether it agrees.",
    ),
    "doctor": Listed(
        "facts",
        "Say what this machine, or a Ray cluster, can run and what is missing; or explain a "
        "server's log.",
    ),
    "predict": Listed("predict", "Learn which strategy serves best, and recommend one."),
    "microbench": Listed("microbench", "Time single operations on this device."),
    "slurm": Listed("slurm", "The same experiment as Slurm array jobs."),
}


class ReaderGone(BaseException):
    """Nobody reads standard output any more; Typer would make an exit with 1 of the OSError."""


def _version(asked: bool) -> None:
    """Print the version when asked; reading it costs nothing otherwise."""
    if asked:
        from moeserve import __version__

        typer.echo(f"moeserve {__version__}")
        raise typer.Exit


def _flags(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """The program's own flags; `_version` does what there is to do."""


class Commands(TyperGroup):
    """The commands of the table: listed by their lines, loaded when one is called."""

    def __init__(self, **settings: Any) -> None:
        lines: dict[str, Any] = {
            name: TyperCommand(name, help=listed.about, rich_markup_mode="rich")
            for name, listed in COMMANDS.items()
        }
        own = typer.Typer()
        own.callback()(_flags)  # a Typer of its own, for the flags that it would have
        super().__init__(commands=lines, params=get_command(own).params, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the called command; a reader that has gone (head, less) is no error of its."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the called command's name, the command itself and its arguments."""
        name, line, rest = super().resolve_command(ctx, args)
        return name, line and load(line.name or ""), rest


def load(name: str) -> Any:
    """Import a command's module; return the command."""
    app = typer.Typer(rich_markup_mode="rich")
    importlib.import_module(f"moeserve.cli.{COMMANDS[name].module}").add_to(app)
    return get_group(app).commands[name]
