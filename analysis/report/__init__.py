"""One self-contained HTML page: the question, the answer, and the evidence for it."""

from analysis.report.write import ReportOptions, write_report

__all__ = ["ReportOptions", "write_report"]
