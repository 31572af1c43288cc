"""A user's own GPUs: a file named where a GPU is asked for, or rows in the configuration folder.

`$XDG_CONFIG_HOME/moeserve/hardware.yaml` (`.json`, `.toml`), and every such file in the folder
`hardware/` beside it, hold a row or a list of rows with the fields of `moeserve hardware`. A GPU of
these is called `NAME#12ab34cd`: the hash is of its numbers, so that two GPUs of one name and other
numbers are two GPUs everywhere, and a file may lie and move where it will.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from catalog.errors import BadFile, BadValue, UnknownName
from catalog.gpu_row import HASHED_NAME, MARK, GpuRow, gpu_from, row_from
from catalog.hardware import Gpu
from catalog.hardware_table import (
    GPUS,
    HOW_TO_ADD,
    describes,
    detect_name,
    known_gpu,
    name_key,
    priced,
)
from strategies.documents import read_document

SUFFIXES = (".yaml", ".yml", ".json", ".toml")
WHAT = "hardware"


def find_gpu(name: str, *, price_per_hour_usd: float | None = None) -> Gpu:
    """Return a GPU by any of its names, of ours or the user's own, or from a file.

    UnknownName lists what there is and says how to add one; BadFile names what a file lacks.
    """
    found = known_gpu(name) or own_gpu(name)
    if found is None:
        own = [gpu.name for gpu in kept_gpus()]
        now = [each for each in own if each.partition(MARK)[0] == name.partition(MARK)[0]]
        hint = f"With other numbers there is {now[0]}." if now else HOW_TO_ADD
        raise UnknownName("hardware", name, [*GPUS, *own], hint=hint)
    return found if price_per_hour_usd is None else priced(found, price_per_hour_usd)


def own_gpu(name: str) -> Gpu | None:
    """Return the user's own GPU of a name or in a file; None where it is neither."""
    if not _is_path(name):
        return pick(name, kept_gpus())
    path = Path(name).expanduser()
    gpus = read_gpus(path)
    if len(gpus) != 1:
        listed = ", ".join(gpu.name for gpu in gpus) or "none"
        raise BadFile(path, f"holds {len(gpus)} GPUs ({listed}); give a file of one, or keep it "
                      f"in {configuration()} and name one")  # fmt: skip
    return gpus[0]


def pick(name: str, gpus: Iterable[Gpu]) -> Gpu | None:
    """Return the GPU that goes by a name: with its hash, or any of its names without."""
    key = name_key(name)
    for gpu in gpus:
        plain = gpu.name.partition(MARK)[0]
        if name == gpu.name or key in map(name_key, (plain, *gpu.aliases, *gpu.driver_names)):
            return gpu
    return None


def gpu_of_device(
    driver_name: str, memory_bytes: float | None, asked: Sequence[Gpu] = ()
) -> Gpu | None:
    """Return the GPU that a device is, as its driver tells it; None where no row describes it.

    Without a memory, which some drivers do not tell, the name alone decides. Rows that the user
    has asked for come first, then the catalog's, then those that are kept.
    """
    device = (driver_name, memory_bytes)
    if found := next((gpu for gpu in asked if describes(gpu, *device)), None):
        return found
    if (name := detect_name(*device)) is not None:
        return GPUS[name]
    return next((gpu for gpu in kept_gpus() if describes(gpu, *device)), None)


def configuration() -> Path:
    """Return the user's configuration folder."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "moeserve"


def kept_gpus() -> tuple[Gpu, ...]:
    """Read every row of the configuration folder; BadFile for one that is none, or stands twice."""
    seen: dict[str, Gpu] = {}
    for path in _kept_files():
        for gpu in read_gpus(path):
            for name in map(name_key, (gpu.name.partition(MARK)[0], *gpu.aliases)):
                if name in seen and seen[name] is not gpu:
                    raise BadFile(path, f"{gpu.name}: a GPU of this name is in {seen[name].file}")
                seen[name] = gpu
    return tuple(dict.fromkeys(seen.values()))


def read_gpus(path: Path) -> tuple[Gpu, ...]:
    """Read a file's row or rows: a list, or one under `gpus`, since TOML has no bare list."""
    document = read_document(path, WHAT)
    if isinstance(document, dict) and document.keys() == {"gpus"}:
        document = document["gpus"]
    rows = document if isinstance(document, list) else [document]
    return tuple(
        _checked(path, row, f"row {number}: " if len(rows) > 1 else "")
        for number, row in enumerate(rows, 1)
    )


def own_from(row: GpuRow, *, file: str) -> Gpu:
    """Build a user's GPU; BadValue for a name that is one of ours."""
    for name in (row.hardware, *row.aliases):
        if (ours := known_gpu(name)) is not None:
            allowed = f"another: {ours.name} is a row of moeserve's own with other numbers"
            raise BadValue("hardware" if name == row.hardware else "aliases", name, allowed)
    return gpu_from(row, file=file)


def own_from_json(text: str) -> Gpu:
    """Build a user's GPU of a row in JSON."""
    try:
        return own_from(row_from(json.loads(text)), file=WHAT)
    except (BadValue, ValueError, RecursionError) as error:
        raise BadFile(WHAT, str(error)) from error


def is_hashed(name: str) -> bool:
    """Return whether a name is one that a user's own GPU is recorded under."""
    return HASHED_NAME.fullmatch(name) is not None


def unknown_note(names: Iterable[str]) -> str:
    """Say what is left out for GPUs that no row knows; empty if there are none."""
    listed = ", ".join(sorted(set(names)))
    return listed and (
        f"no row describes {listed}: measured under that name, without a check of memory before, "
        "expected times, physical floor and price; moeserve hardware --help says how to give a row"
    )


def _checked(path: Path, row: object, where: str) -> Gpu:
    try:
        return own_from(row_from(row), file=str(path))
    except BadValue as error:
        raise BadFile(path, f"{where}{error}") from error


def _is_path(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) or "/" in name or os.sep in name


def _kept_files() -> Iterator[Path]:
    folder = configuration()
    yield from (path for suffix in SUFFIXES if (path := folder / f"hardware{suffix}").exists())
    if (folder / "hardware").is_dir():
        beside = (folder / "hardware").iterdir()
        yield from sorted(path for path in beside if path.suffix.lower() in SUFFIXES)
