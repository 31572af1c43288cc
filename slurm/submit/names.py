"""Which texts may stand in a job's options: everything else is refused before Slurm sees it."""

import os
import re

from catalog.errors import BadValue
from catalog.secret_names import is_secret_name

# Names alone: sbatch takes the values from the environment it is called in.
EXPORT = ("HOME", "PATH", "LANG", "USER", "LD_LIBRARY_PATH", "HF_HOME", "HF_HUB_OFFLINE",
          "MOESERVE_DEBUG")  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
NAMES = re.compile(rf"{NAME.pattern}(,{NAME.pattern}){{0,31}}")
CONSTRAINT = re.compile(r"[A-Za-z0-9\[(][A-Za-z0-9._\-,&|*:()\[\]]{0,255}")
MEMORY = re.compile(r"0|[1-9][0-9]{0,8}[KMGTkmgt]?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:,-]{0,127}")
FREE_OPTION = re.compile(r"--[a-z][a-z0-9-]{0,63}(=[^\x00-\x1f\x7f]{0,1024})?")
JOB_NAME = re.compile(r"[A-Za-z0-9._:@+-]{0,64}\{job\}[A-Za-z0-9._:@+-]{0,64}")
COMMENT = re.compile(r"[^\x00-\x1f\x7f]{0,256}")
SITES_OWN = "default"
"""In place of a size: what the site gives, where a job may not ask for any."""
SHARES = ("shard", "mps")
"""GRES that are a share of a GPU."""
SIZES = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# What moeserve sets itself: another value would break publication, status or clean-up.
MANAGED = frozenset(
    ("array", "chdir", "cluster", "clusters", "comment", "dependency", "error", "export",
     "export-file", "get-user-env", "hold", "input", "job-name", "kill-on-invalid-dep",
     "no-requeue", "nodes", "ntasks", "open-mode", "output", "parsable", "quiet", "requeue",
     "signal", "test-only", "wait", "wrap")
)  # fmt: skip


def check_name(what: str, text: str) -> str:
    """Return a name of Slurm's (account, QOS, GPU type), or refuse it."""
    return _check(what, text, NAME, "letters, digits and `._@+-`, at most 64")


def check_names(what: str, text: str) -> str:
    return _check(what, text, NAMES, "names joined by commas")


def check_constraint(text: str) -> str:
    return _check("constraint", text, CONSTRAINT, "node features joined by & | , and brackets")


def check_memory(text: str) -> str:
    allowed = f"a size such as 64G; 0 is all that a node has, {SITES_OWN} asks for none"
    return text if text == SITES_OWN else _check("memory", text, MEMORY, allowed)


def memory_bytes(text: str) -> int:
    """Return the bytes of a size as Slurm takes it: MiB without a unit."""
    number = text.upper().rstrip("KMGT")
    return int(number) * SIZES[text.upper()[len(number) :]]


def check_job_name(text: str) -> str:
    return _check("job_name", text, JOB_NAME, "letters, digits, `._:@+-` around one {job}")


def check_comment(text: str) -> str:
    return _check("comment", text, COMMENT, "a line, {token} in it where that is wanted")


def check_gres(text: str) -> str:
    """Return a further GRES to ask for beside the GPUs."""
    kinds = [part.removeprefix("gres/").split(":")[0] for part in text.split(",")]
    if any(kind.startswith("gpu") or kind in SHARES for kind in kinds):
        raise BadValue(
            "sbatch", f"--gres={text}", "other resources: GPUs are counted for each layout "
            "(gpu_type, gpus, or gpu_request: none and your own request)"
        )  # fmt: skip
    return text


def check_device(what: str, text: str) -> str:
    """Return the name of a network interface or device, or refuse it."""
    return _check(what, text, DEVICE, "its name as `ip link` has it, such as ib0")


def check_variable(text: str) -> str:
    """Return the name of an environment variable that a job may be given."""
    _check("export", text, VARIABLE, "the name of an environment variable, without its value")
    if is_secret_name(text):
        raise BadValue(
            "export", text, "no secrets: accounting may keep a job's environment; name a file"
        )
    return text


def check_free_option(text: str) -> str:
    """Return one of the user's own options of sbatch, unless moeserve must set it itself."""
    _check("sbatch", text, FREE_OPTION, "--option or --option=value, on one line")
    name = text[2:].partition("=")[0]
    # getopt takes every unambiguous beginning of a long option for the option.
    if any(managed.startswith(name) for managed in MANAGED):
        raise BadValue("sbatch", text, "an option that moeserve does not set itself")
    return text


def expanded_path(what: str, text: str) -> str:
    """Return a path that is the same on every node, `~` and variables of the user's written out.

    Nothing expands it later: a job gets it as an argument, which no shell sees.
    """
    path = os.path.expandvars(os.path.expanduser(text))  # noqa: PTH111 (variables may stand first)
    if "$" in path or path.startswith("~") or ("/" in path and not path.startswith("/")):
        allowed = "an absolute path, or a program on PATH; variables that are set here"
        raise BadValue(what, text, allowed)
    return check_path(what, path)


def check_path(what: str, text: str) -> str:
    """Return a path that Slurm takes literally."""
    if not text.isprintable() or "\\" in text or "%" in text:
        raise BadValue(what, text, "a path without control characters, `\\` and `%`")
    return text


def _check(what: str, text: str, pattern: re.Pattern[str], allowed: str) -> str:
    if not pattern.fullmatch(text):
        raise BadValue(what, text, allowed)
    return text
