"""Quality of each configuration of an experiment, kept beside its runs in the results directory."""
