#!/bin/bash
# A job of moeserve. Every value comes as an argument; this text never changes.
# exec makes the program the batch shell itself, so that signals of the time limit reach it.
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
exec "$@"
