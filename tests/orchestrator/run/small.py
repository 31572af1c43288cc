"""A study that is over in an instant: two layouts at two loads, nothing tried again."""

from orchestrator.experiment.experiment import Experiment

SMALL = Experiment(
    engine="simulated",
    strategies=("tp", "ep"),
    workloads=("16:8:6",),
    concurrency="1,4",
    retries=0,
)
