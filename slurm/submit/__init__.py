"""A study put into the queue: planned, written down, then asked of Slurm once."""
