"""How long submit and status take with ten thousand tasks, on commands that stand in for Slurm's.

python benchmarks/slurm --groups 10008

Prints the wall and CPU seconds of whole processes of `moeserve slurm`. The stand-ins answer at
once, as a controller on an idle machine would: what is timed is moeserve, its reading of 10,000
lines included.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """\
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = standin
KillWait                = 30 sec
MaxArraySize            = 1001
MaxJobCount             = 100000
SLURM_VERSION           = 23.02.0
"""
SBATCH = """\
for word in "$@"; do
  case "$word" in
    --job-name=*) name=${word#*=} ;;
    --array=*) last=${word##*-}; last=${last%%\\%*} ;;
  esac
done
job=$(($(cat jobs) + 1)); echo $job >jobs
for i in $(seq 0 "$last"); do
  echo "${job}_$i|$job|PENDING|Priority|N/A|N/A||$name" >>queue
done
echo $job
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=10_008)
    groups = parser.parse_args().groups
    with tempfile.TemporaryDirectory() as folder:
        root, path = Path(folder) / "out", _stand_ins(Path(folder) / "bin")
        models = ["Mixtral-8x7B", "OLMoE-1B-7B", "Qwen1.5-MoE-A2.7B"]
        study = ["-s", "tp,ep,tp+ep", "-w", "decode-heavy", "-c", "1", "--engine", "simulated",
                 "--num-runs", str(groups // 9)]  # fmt: skip
        words = [word for model in models for word in ("-m", model)]
        submit = ["submit", *words, *study, "-o", str(root)]
        status = ["status", str(root)]
        print(f"{'wall s':>8} {'CPU s':>8}  {groups // 9 * 9} server groups")
        for command in (submit, submit, status, [*status, "--counts"], [*status, "--format=json"]):
            _time(command, path)


def _time(words: list[str], path: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "moeserve", "slurm", *words],
        env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    named = " ".join([words[0], *words[2:]] if words[0] == "status" else words[:1])
    print(f"{wall_s:8.2f} {cpu_s:8.2f}  {named}" + (f": {done.stderr}" if done.returncode else ""))


def _stand_ins(folder: Path) -> str:
    folder.mkdir()
    (folder / "jobs").write_text("0\n")
    (folder / "queue").write_text("")
    (folder / "config").write_text(CONFIG)
    bodies = {"sbatch": SBATCH, "squeue": "cat queue", "sacct": "true", "scontrol": "cat config"}
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/bash\ncd {folder}\n{body}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


if __name__ == "__main__":
    main()
