#!/bin/bash -l
# A job of moeserve, with the setup lines of its site profile. Every other value comes as an argument.
# A login shell, since `module` is a function of one.
# An early USR2 must not end the job before the program can take it; it knows its limit anyway.
trap "" USR2
# sbatch hands on what it was asked with; a node has a way of its own.
unset SLURM_JWT
program=("$@")
set -- # a file that a line sources would take them for its own
setup_failed() { # STATUS WHAT: the program says it, in the record of this attempt
  trap - ERR EXIT
  export MOESERVE_SETUP_FAILED="\`$2\` ended with $1"
  echo "moeserve: SETUP_FAILED: $MOESERVE_SETUP_FAILED" >&2
  exec "${program[@]}"
}
line_failed() { # STATUS LINE: of this script alone; in a file that a line sources much may fail on its way
  [ ${#BASH_SOURCE[@]} -gt 2 ] || setup_failed "$1" "$(sed -n "$2p" "$0")"
}
trap 'line_failed $? $LINENO' ERR
trap 'setup_failed $? "the script"' EXIT
# Of the profile:
SETUP LINES
# End of the profile.
trap - ERR EXIT
# exec makes the program the batch shell itself, so that signals of the time limit reach it.
# No OMP_NUM_THREADS: vLLM takes any for its user's wish, and a task would not be the server of a local run.
export PYTHONUNBUFFERED=1
exec "${program[@]}"
