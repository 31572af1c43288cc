"""Which GPU an experiment means: ours by name, or the user's own with its row beside it."""

from collections.abc import Mapping, Sequence

from catalog.errors import BadValue
from catalog.gpu_row import GpuRow, row_of
from catalog.hardware import Gpu
from catalog.hardware_table import known_gpu, name_key, named_as_by_a_driver
from strategies import Layout, parse_layout
from strategies.own_gpus import find_gpu, is_hashed, own_from, own_gpu, pick

Hardware = str | dict[str, str] | None
WHERE = "the experiment"
"""The file of a row that an experiment holds."""


def settled(asked: Hardware, rows: Sequence[GpuRow]) -> tuple[Hardware, tuple[GpuRow, ...]]:
    """Replace each file and name of a user's own GPU by the name with its hash; add its row.

    So the experiment says the same wherever the file lies, and on nodes that do not have it. Names
    that nobody knows stay: a plan refuses them, or finds them to be what a driver says.
    """
    own = {gpu.name: gpu for gpu in gpus_of(rows)}
    names = asked.values() if isinstance(asked, Mapping) else [] if asked is None else [asked]
    called = {name: _called(name, own) for name in names}
    rows = tuple(row_of(gpu) for gpu in own.values())
    if isinstance(asked, Mapping):
        return {layout: called[name] for layout, name in asked.items()}, rows
    return (None if asked is None else called[asked]), rows


def gpus_of(rows: Sequence[GpuRow]) -> tuple[Gpu, ...]:
    """Build the GPUs of the rows that an experiment holds."""
    return tuple(own_from(row, file=WHERE) for row in rows)


def hardware_of(asked: Hardware, layout: Layout | None, *, here: str, own: Sequence[Gpu]) -> str:
    """Return the name of the GPU asked for, for this layout; `here` if none was named.

    One that no row describes is meant where its name is a driver's, or that of the GPU here.
    """
    if asked is None or isinstance(asked, str):
        return here if asked is None else canonical(asked, here=here, own=own)
    by_layout = {parse_layout(k).name: name for k, name in asked.items() if k != "default"}
    name = by_layout.get(layout.name if layout else "", asked.get("default"))
    if name is None:
        shown = layout.name if layout else "the endpoint"
        raise BadValue("hardware", asked, f"an entry for {shown}, or one named default")
    return canonical(name, here=here, own=own)


def canonical(asked: str, *, here: str = "", own: Sequence[Gpu] = ()) -> str:
    """Return the one name that a GPU is recorded under, or refuse a name that means none."""
    if (known := known_gpu(asked)) is not None:
        return known.name
    if (found := pick(asked, own)) is not None:
        return found.name
    if here and name_key(asked) == name_key(here):
        return here
    return asked if named_as_by_a_driver(asked) else find_gpu(asked).name


def gpu_named(name: str, own: Sequence[Gpu]) -> Gpu:
    """Return a GPU by any of its names; UnknownName where no row describes it."""
    return pick(name, own) or find_gpu(name)


def own_gpu_of(hardware: str, own: Sequence[Gpu]) -> Gpu | None:
    """Return the user's own GPU of a recorded name: of these, else kept on this machine."""
    if not is_hashed(hardware):
        return None
    return pick(hardware, own) or own_gpu(hardware)


def _called(name: str, own: dict[str, Gpu]) -> str:
    if known_gpu(name) is not None:
        return name
    found = pick(name, own.values()) or own_gpu(name)
    if found is None:
        return name
    own.setdefault(found.name, found)
    return found.name
