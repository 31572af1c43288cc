"""A published table's shape, filled with numbers that carry their interval and n."""

from dataclasses import dataclass

import pandas as pd

from analysis.tables.cells import TableCell


@dataclass(frozen=True, slots=True)
class Table:
    """A published table's shape with this study's numbers."""

    number: str
    title: str
    unit: str
    corner: str
    """Heading of the column of row names."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[TableCell, ...]], ...]
    provenance: str
    level: float
    """Coverage of the intervals."""
    notes: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """One row a cell."""
        return pd.DataFrame(self.flat())

    def flat(self) -> list[dict[str, object]]:
        """One object for each cell."""
        return [
            {
                "table": self.number,
                "row": name,
                "column": column,
                "value": cell.value,
                "low": cell.low,
                "high": cell.high,
                "n": cell.n,
                "interval_over": cell.over,
                "unit": self.unit if not column.endswith("/TP") else "%",
                "paper": cell.paper,
                "relative_to_paper": cell.value / cell.paper if cell.value and cell.paper else None,
                "provenance": self.provenance,
            }
            for name, cells in self.rows
            for column, cell in zip(self.columns, cells, strict=True)
        ]
