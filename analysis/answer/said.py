"""The answers of a study as an object that prints itself, in a shell and in a notebook."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.answer.answer import Answer, answers, said
from analysis.question import ComparisonSpec


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer for each provenance and model of a run table."""

    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame, spec: ComparisonSpec | None = None) -> "Answers":
        """Answer from a run table."""
        return cls(tuple(answers(frame, spec)))

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __str__(self) -> str:
        return "\n".join(said(self.answers))

    def _repr_markdown_(self) -> str:
        return "\n\n".join(said(self.answers))

    def frame(self) -> pd.DataFrame:
        """One row an answer: provenance, model, kind, layouts, headline, sure, doubts."""
        return pd.DataFrame(
            {
                "provenance": each.provenance,
                "model": each.model,
                "kind": each.choice.kind if each.choice else "",
                "layouts": ", ".join(each.choice.layouts) if each.choice else "",
                "headline": each.headline,
                "sure": each.sure,
                "doubts": "; ".join(each.doubts),
            }
            for each in self.answers
        )
