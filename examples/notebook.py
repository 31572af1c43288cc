"""A study, step by step, for a notebook or a shell.

    moeserve run examples/parallelism_study.yaml -o study
    python examples/notebook.py study figures

Each `# %%` starts a cell in editors that know the mark.
"""

# %% Read the results: one tidy row a run
import sys
from pathlib import Path

import moeserve
from analysis.anova import AnovaModel, anova
from analysis.compare import ComparisonSpec, compare
from analysis.crossover import crossovers
from analysis.plots import draw, save
from analysis.tables import render
from analysis.tables.paper_tables import tables
from analysis.winners import winners

results = Path(sys.argv[1] if len(sys.argv) > 1 else "study")
figures = Path(sys.argv[2] if len(sys.argv) > 2 else "figures")
figures.mkdir(exist_ok=True)

runs = moeserve.load(results)
print(runs[["model", "strategy", "workload", "max_concurrency", "output_throughput"]].head())

# %% The paper's tables, beside the paper's own numbers
for table in tables(runs):
    print(render.terminal(table, paper=True), end="\n\n")

# %% What moves the throughput: each factor alone, then all of them together on ratios
alone = anova(runs)
for effect in alone.effects:
    print(f"{effect.factor}: F = {effect.f:.2f}, p = {effect.p:.2g}, η² = {effect.eta_squared:.3f}")
together = anova(runs, AnovaModel(interactions=True, order=2, log=True))
print({effect.factor: round(effect.partial_eta_squared, 3) for effect in together.effects})
print(*alone.notes, sep="\n")

# %% Strategies against tensor parallelism, one row a model
comparison = compare(runs, ComparisonSpec(reference="tp", by=("model",)))
for contrast in comparison.contrasts:
    ratio = contrast.ratio
    bounds = "" if ratio.low is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    print(contrast.stratum.name, contrast.strategy, f"{ratio.value:.3f}{bounds}", contrast.verdict)

# %% Where they change places, and who wins where
for crossover in crossovers(runs, ComparisonSpec(reference="tp")):
    if crossover.load is not None:
        print(dict(crossover.key), crossover.better_above, f"from {crossover.load:.1f}")
print(winners(runs).groupby("model")["strategy"].value_counts())

# %% Figures
for kind in ("throughput", "latency-bars", "pareto", "heatmap"):
    print(save(draw(runs, kind), figures / f"{kind}.svg"))
