#!/bin/bash
# A job of moeserve. Every value comes as an argument; this text never changes.
# An early USR2 must not end the job before the program can take it; it knows its limit anyway.
trap "" USR2
# exec makes the program the batch shell itself, so that signals of the time limit reach it.
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
exec "$@"
