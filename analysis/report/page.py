"""The page itself: template, style and script in one file that loads nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from analysis.data.traffic import SentTraffic
from analysis.report import sentences
from analysis.report.group import ProvenanceGroup
from analysis.report.origin import Origin
from analysis.report.validity import Validity
from analysis.tables.paper_tables import NOT_LIKE_FOR_LIKE
from analysis.tables.render import caption, cell_text, number
from analysis.web.assets import asset, policy_of, script_of
from perfmodel import reference

WEB, REPORT = "analysis.web", __package__
SCRIPTS = (
    (WEB, "dom.js"), (REPORT, "scale.js"), (REPORT, "chart.js"), (WEB, "table.js"),
    (REPORT, "matrix.js"), (REPORT, "figures.js"), (REPORT, "app.js"),
)  # fmt: skip
PLAIN_KINDS = {
    "measured": "measured on hardware",
    "simulated": "simulated: these numbers come from a model of the GPU, not from one",
    "imported": "imported from other tools, by their definitions where those differ",
    "unstated": "of unstated origin: the table does not say whether they were measured",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What the template shows."""

    title: str
    groups: list[ProvenanceGroup]
    validity: Validity
    origins: list[Origin]
    results: list[str]
    margin: float
    carried: bool
    """Whether there is a table of what each server carries; none where each had but one load."""
    sent: list[SentTraffic]
    """What the runs of each workload were sent; empty where no requests are kept."""
    agreement: list[str]
    """How far estimates are from measurements; empty without both."""
    unfinished: str = ""
    """In words what is missing of the study; empty where nothing is known to be."""

    @property
    def compared(self) -> bool:
        """Whether there is anything to compare: two strategies under one load."""
        return any(group.comparison and group.comparison.contrasts for group in self.groups)

    @property
    def question(self) -> str:
        if self.compared:
            return (
                "Which parallel layout of the model serves the most, at which load, and how sure "
                "is that?"
            )
        return "How much load does the server carry, and how fast is it there?"

    @property
    def has_tables(self) -> bool:
        return any(group.tables for group in self.groups)

    @property
    def table_notes(self) -> list[str]:
        """Return what to know of the tables, each note once; the paper's numbers are not here."""
        notes = (note for g in self.groups for table in g.tables for note in table.notes)
        return [n for n in dict.fromkeys(notes) if not n.startswith(NOT_LIKE_FOR_LIKE)]

    @property
    def has_statistics(self) -> bool:
        return any(group.crossovers or group.anova for group in self.groups)

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Return the sections that this page has, with their names."""
        there = {
            "answer": ("Answer", True),
            "figures": ("Figures", True),
            "evidence": ("What it rests on", self.compared),
            "agreement": ("Estimate against measurement", bool(self.agreement)),
            "capacity": ("Capacity and price", self.carried),
            "contrasts": ("Comparisons", self.compared),
            "tables": ("Tables", self.has_tables),
            "statistics": ("Statistics", self.has_statistics),
            "validity": ("Validity", True),
            "runs": ("Runs", True),
            "reproduce": ("Reproduce", True),
        }
        return [(key, name) for key, (name, shown) in there.items() if shown]


def render(page: Page, payload: str) -> str:
    """Fill the template; every value is escaped but the page's own style, script and data."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    functions: dict[str, Callable[..., object]] = {
        "caption": caption,
        "cell_text": cell_text,
        "number": number,
        "effects": sentences.effect_sentences,
        "checks": sentences.check_sentences,
        "mixed": sentences.mixed_sentences,
    }
    environment.globals.update(functions)
    style, script = asset(WEB, "page.css"), script_of(SCRIPTS)
    template = environment.from_string(asset(REPORT, "page.html.j2"))
    return template.render(
        page=page,
        kinds=PLAIN_KINDS,
        citation=reference.PARALLELISM_STUDY,
        version=_version(),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        policy=policy_of(style, script),
        style=Markup(style),  # noqa: S704 (the package's own file)
        script=Markup(script),  # noqa: S704 (the package's own files)
        payload=Markup(payload),  # noqa: S704 (JSON without < > &)
    )


def _version() -> str:
    try:
        return version("moeserve")
    except PackageNotFoundError:
        return "from source"
