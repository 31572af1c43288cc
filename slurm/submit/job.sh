#!/bin/bash
# A job of moeserve. Every value comes as an argument; this text never changes.
# An early USR2 must not end the job before the program can take it; it knows its limit anyway.
trap "" USR2
# sbatch hands on what it was asked with; a node has a way of its own.
unset SLURM_JWT
# exec makes the program the batch shell itself, so that signals of the time limit reach it.
# No OMP_NUM_THREADS: vLLM takes any for its user's wish, and a task would not be the server of a local run.
export PYTHONUNBUFFERED=1
exec "$@"
