"""A landscape drawn: every configuration with a number, its name and its perplexity."""

from pathlib import Path

import pytest

from analysis.plots.landscape import landscape_figure_of
from analysis.plots.save import encoded
from catalog.errors import BadFile

TABLE = """\
technique,mean_ttft_ms,mean_tpot_ms,device_memory_bytes,perplexity,verdict
none,10,2,2097152,21.3,valid
int8,12,3,1048576,21.4,valid
odd,12,3,1048576,1.0,invalid
"""


@pytest.mark.slow
def test_a_table_of_runs_stands_beside_the_published_landscape(tmp_path: Path) -> None:
    ours = tmp_path / "mine.csv"
    ours.write_text(TABLE)
    drawn = encoded(landscape_figure_of([ours, Path("mixtral-a6000")]), "svg").decode()
    assert "Memory of the device (MiB)" in drawn
    assert "Memory of the device (GiB)" in drawn
    assert drawn.index("1  int8: 21.4") < drawn.index("2  none: 21.3")
    assert "1  Fiddler: unknown" in drawn
    assert "Distillation 4x7B: 17.61" in drawn
    assert "odd" not in drawn


def test_what_has_no_perplexity_is_refused_with_the_command_that_measures_it(
    tmp_path: Path,
) -> None:
    bare = tmp_path / "bare.csv"
    bare.write_text("technique,mean_ttft_ms,mean_tpot_ms,device_memory_bytes\nnone,10,2,5\n")
    with pytest.raises(BadFile, match=r"no column 'perplexity': moeserve quality .*bare\.csv"):
        landscape_figure_of([bare])
    bare.write_text("technique,mean_ttft_ms,mean_tpot_ms,perplexity\nnone,10,2,5\n")
    with pytest.raises(BadFile, match="no column of memory: one of device_memory_bytes"):
        landscape_figure_of([bare])
