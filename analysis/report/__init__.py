"""One self-contained HTML page: the question, the answer, and the evidence for it."""

from analysis.report.write import Options, write_report

__all__ = ["Options", "write_report"]
