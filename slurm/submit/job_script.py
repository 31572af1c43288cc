"""The job script: constant, or a constant one with the site's own setup lines in its middle."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from catalog.errors import BadValue
from catalog.secrets import redact

JOB_SCRIPT = Path(__file__).with_name("job.sh")
WITH_SETUP, PLACE = Path(__file__).with_name("setup.sh"), "SETUP LINES"
FAILED = "MOESERVE_SETUP_FAILED"
"""The variable that tells the program which line did not succeed."""
TASK, FOLLOW_UP = "task.sh", "follow_up.sh"
"""What the scripts of a submission are called, beside its submission.json."""
MOST_LINES = 200
CHECK_S = 10.0


def script_text(setup: Sequence[str]) -> str:
    """Return the text of the script that runs these lines and then the program of its arguments."""
    if not setup:
        return JOB_SCRIPT.read_text()
    return WITH_SETUP.read_text().replace(PLACE, "\n".join(setup), 1)


def script_path(root: Path, token: str, setup: Sequence[str], name: str) -> Path:
    """Return where a script of a submission lies; without setup lines it is everybody's."""
    return root / "slurm" / token / name if setup else JOB_SCRIPT


def check_setup(lines: Sequence[str]) -> None:
    """Refuse, BadValue, lines that bash cannot read, secrets, and what is more than a line."""
    for line in lines:
        if not line.strip() or not line.replace("\t", " ").isprintable() or len(line) > 2000:
            raise BadValue("setup", line, "a line of bash each")
        if redact(line) != line:
            raise BadValue("setup", redact(line), "no secrets: the script lies with the results")
        if line.rstrip().endswith("\\"):
            raise BadValue("setup", line, "whole commands: a line does not go on in the next")
    if len(lines) > MOST_LINES:
        raise BadValue("setup", f"{len(lines)} lines", f"at most {MOST_LINES}: `source` a file")
    bash = shutil.which("bash")
    if lines and bash:
        done = subprocess.run(
            [bash, "-n"],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=CHECK_S,
            check=False,
        )
        if done.returncode:
            raise BadValue("setup", done.stderr.strip().splitlines()[0], "lines that bash can read")
