"""Write docs/keys.md, columns.md and papers.md from the code and the list that define them.

python scripts/generate_pages.py
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from analysis.style import label_of
from catalog.field_notes import field_notes
from moeserve.keys import keys
from moeserve.papers.check import said
from moeserve.papers.item import PaperItem, paper_list
from orchestrator.results.quantities import CHOICES, measure_of, role_of
from orchestrator.results.record import COLUMNS, RunRecord
from orchestrator.results.rows import SCHEMA
from workloads.transcript import RequestRow

DOCS = Path(__file__).parents[1] / "docs"
NEWLINE = "\n"
MADE = "<!-- Written by scripts/generate_pages.py from the code: change it there. -->\n"
FAMILIES = {
    "steady_…": "the same figure over the steady window, where the load was held",
    "…_from_send_ms": "latency from when a request was sent; the usual is from when it was due",
    "server_…": "the server's own counters over the same window",
    "tool_…": "as another tool counted it, by its own definition; of imports",
    "client_…, …_dispatch_lag_ms": "how well the load generator kept up",
    "…_share": "share of a step's time, of an estimate",
    "low_…, high_…": "90 % bounds of an estimate",
    "device_memory_bytes": "weights on the fullest device, as the server counts or estimated",
    "gpu_memory_bytes": "of an estimate: these, the fullest cache, activations, the runtime",
    "usd_per_…, joules_per_…": "price and energy, where known",
}

REQUESTS = {
    "run_id": "The run it is of.",
    "request": "From 0, in the order they were due.",
    "due_s": "When it was to be sent: latencies run from here.",
    "sent_s": "When it was sent.",
    "first_token_s": "When its first token came.",
    "output_tokens": "Tokens that came.",
    "status": "`ok`, `failed` or `interrupted`.",
    "error_class": "What failed: the classes of metrics.md.",
    "error": "In the server's words.",
    "finish_reason": "As the server says.",
    "reads": "Reads of the socket.",
    "events": "Events of the stream.",
    "multi_token_events": "Events that brought several tokens.",
    "reconnects": "Connections opened anew.",
    "token_events": "Events that brought tokens.",
}


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(heading)} |", "|---" * len(heading) + "|", *lines])


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def keys_page() -> str:
    """Every key of an experiment's file, by the part it stands in."""
    rows = [
        (
            f"`{key.name}`",
            " ".join(f"`{name}`" for name in key.flags.split()) or "–",
            cell(key.about),
            f"`{cell(key.default)}`" if key.default else "–",
        )
        for key in keys()
    ]
    return f"""{MADE}
# Keys of an experiment

The keys of the YAML file that `run`, `plan`, `estimate` and `slurm submit` take; each flag sets its
key over the file. `moeserve init` writes a file with all of them, `moeserve schema` their JSON
schema for editors. A dot is a level of the file: `server.args` is `args` below `server`. Where a
list is meant, one value may stand; `concurrency` takes `4`, `[1, 4]` and `1..128`; `goodput` takes
`ttft:200 tpot:50`, too.

{table(("key", "flag", "what", "default"), rows)}
"""


def columns_page() -> str:
    """Every column of the run table and of the request table."""
    return f"""{MADE}
# Columns

Durations are in seconds, latencies in milliseconds (`_ms`), throughputs per second. What was not
measured is empty, never 0. What each number means: [metrics.md](metrics.md).

## Run table: one row a run

`moeserve results DIR --format csv` (or `json`, `parquet`), and `moeserve.load(DIR)`. A
**condition** column tells conditions apart, a **measure** was measured, a **record** keeps the
books.

{table(("column", "type", "role", "unit", "better", "what"), map(run_row, COLUMNS))}

## Further columns

What a server or an estimate adds, as far as it is known:

{table(("column", "what"), [(f"`{name}`", text) for name, text in FAMILIES.items()])}

What a vLLM server chose by itself, part of the condition:
{", ".join(f"`{name}`" for name in CHOICES)}.

## Request table: one row a request

`moeserve results DIR --requests`, and `attempts/*/requests.parquet`. Times are seconds since the
run began.

{table(("column", "type", "what"), request_rows())}
"""


def run_row(name: str) -> tuple[str, ...]:
    notes, measure = field_notes(RunRecord), measure_of(name)
    label = label_of(name)
    about = notes.get(name) or ("" if label == name else f"{label}.")
    return (
        f"`{name}`",
        plain_type(get_type_hints(RunRecord)[name]),
        role_of(name) or "–",
        (measure.unit if measure else "") or "–",
        (measure.better if measure else "") or "–",
        cell(about) or "–",
    )


def plain_type(hint: object) -> str:
    types = {hint, *get_args(hint)}
    kinds = {bool: "yes/no", float: "number", int: "whole number"}
    return next((kind for own, kind in kinds.items() if own in types), "text")


def request_rows() -> list[tuple[str, str, str]]:
    notes = REQUESTS | field_notes(RequestRow)
    return [(f"`{f.name}`", f"`{f.type}`", cell(notes.get(f.name, "–"))) for f in SCHEMA]


def papers_page() -> str:
    """Every item of the four papers, a table a paper."""
    listed = paper_list()
    parts = []
    for key, paper in listed.papers.items():
        own = [item for item in listed.items if item.paper == key]
        counts = Counter(item.verdict for item in own)
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        rows = map(paper_row, own)
        heading = ("item", "what the paper says", "verdict", "what comes out, and why", "command")
        parts.append(
            f"## {paper.title}\n\n{paper.short}; `--paper {key}`. {len(own)} items: {told}.\n\n"
            f"{table(heading, rows)}\n"
        )
    return f"""{MADE}
# The four papers, item by item

One row for every table, figure, equation, finding, claim and named system of the four papers that
moeserve repeats: the command that shows it, what comes out, and whether that is what the paper
says. `moeserve papers` prints the same list. Rows with ⚡ are quick:
`moeserve papers --check quick` runs their commands, compares every figure with what stands here,
works the verdict out anew, and ends with 1 where they differ. The others take a GPU, a model that
is not shipped, or minutes; their figures are those of the pages they name.

*Reproduced*: within the share that the list names, 2 % unless said. *In part*: some of it.
*Contradicted*: by what moeserve computes, or by the paper itself; a model of a GPU may be wrong
where a measurement is right, and whatever is simulated or estimated was not measured. *Cannot be*:
not with what there is here, or there is nothing to show.

{NEWLINE.join(parts).rstrip()}
"""


def paper_row(item: PaperItem) -> tuple[str, ...]:
    found = "; ".join(said(each, each.gives) for each in item.readings) or item.comes_out
    told = " ".join(f"{each.rstrip('.')}." for each in (found, item.why) if each)
    quick = " ⚡" if item.quick else ""
    command = f"`{cell(item.command)}`" if item.command else "–"
    return cell(item.item), cell(item.says), item.verdict + quick, cell(told), command


PAGES = {"papers.md": papers_page, "keys.md": keys_page, "columns.md": columns_page}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(DOCS / name)


if __name__ == "__main__":
    main()
