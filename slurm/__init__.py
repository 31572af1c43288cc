"""The same experiment as Slurm array jobs: one task a server group."""
