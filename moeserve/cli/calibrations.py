"""Calibrations on the command line: read by name or from a file, and what is known of one."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from catalog.errors import BadFile
from catalog.named_file import read_named
from orchestrator.results.record import Row

if TYPE_CHECKING:
    from perfmodel.constants import Constants
    from perfmodel.fitted_error import FittedError
    from perfmodel.known_error import KnownError
    from perfmodel.serving import ServerSettings

ABOUT_COLUMNS = ("what", "name", "value")


def constants_of(text: str | None) -> "Constants | None":
    """Read a calibration by name, or one that --save wrote."""
    from perfmodel.constants import CALIBRATIONS, Constants, calibration

    if text is None or not text.endswith(".json"):
        return None if text is None else calibration(text)
    try:
        found = msgspec.json.decode(read_named(Path(text), "calibration"), type=Constants)
    except msgspec.DecodeError as error:
        raise BadFile(text, f"not a calibration: {error}") from error
    if CALIBRATIONS.get(found.name, found) != found:  # its errors are not this one's
        raise BadFile(text, f"calls itself {found.name} and is another set; give it another name")
    return found if found.name in CALIBRATIONS else _named_by_content(found)


def _named_by_content(constants: "Constants") -> "Constants":
    """The set under a name of its own: estimates by two fits are two conditions."""
    name = constants.name.partition("#")[0]
    content = msgspec.json.encode(msgspec.structs.replace(constants, name=name))
    digest = hashlib.sha256(content).hexdigest()[:8]
    return msgspec.structs.replace(constants, name=f"{name}#{digest}")


def about_calibration_rows(assumed: "ServerSettings") -> list[Row]:
    """The constants that estimates would use, where they come from, and how far they are off."""
    from perfmodel.constants import VLLM_2026, VLLM_2026_KERNELS, beside_kernels
    from perfmodel.known_error import known_error

    tables, used = assumed.kernel_tables, assumed.assumed_constants
    rows: list[Row] = [
        {"what": "constant", "name": name, "value": value}
        for name, value in msgspec.to_builtins(used).items()
        if name not in ("name", "source", "error")
    ]
    rows.append({"what": "source", "name": used.name, "value": used.source})
    if tables:
        rows.append({"what": "kernels", "name": tables.kind, "value": tables.name})
    if used in (VLLM_2026, VLLM_2026_KERNELS):
        rows += _data()
    if used.error is not None:
        return rows + _own_runs(used.error)
    known = known_error(beside_kernels(used, own=tables.own) if tables else used.name)
    if known is None:
        return [*rows, {"what": "error", "name": "", "value": "compared with no measurement"}]
    return rows + _errors(known) + (_left_out() if used == VLLM_2026 and not tables else [])


def _data() -> list[Row]:
    """What was measured where, a row a source: whole, as it was published."""
    from perfmodel.published import Point, published_points

    by_source = defaultdict[str, list[Point]](list)
    for point in published_points():
        by_source[point.source].append(point)
    rows: list[Row] = []
    for source, points in by_source.items():
        told = [
            f"{len(points)} points",
            "vLLM " + _several(point.engine_version for point in points),
            _several(point.model for point in points),
            _several(point.gpu for point in points),
            min(point.source_url for point in points),
        ]
        rows.append({"what": "data", "name": source, "value": "; ".join(told)})
    return rows


def _several(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name}))


def _own_runs(error: "FittedError") -> list[Row]:
    seen = [
        ("data", "runs", str(error.runs)),
        ("data", "GPUs", ", ".join(error.gpus)),
        ("data", "layouts", ", ".join(error.kinds)),
        *(("data", name, f"{low:.4g} to {high:.4g}") for name, low, high in error.reach),
        ("error", "elsewhere", f"as {error.start} is"),
    ]
    rows: list[Row] = [{"what": what, "name": name, "value": value} for what, name, value in seen]
    rows += [{"what": "90 % within", "name": n, "value": factor} for n, factor in error.factors]
    return rows


def _errors(known: "KnownError") -> list[Row]:
    rows: list[Row] = [{"what": "error", "name": "points", "value": known.points}]
    for what, factors in (("half within", known.typical), ("90 % within", known.nine_of_ten)):
        rows += [{"what": what, "name": name, "value": factor} for name, factor in factors.items()]
    return rows


def _left_out() -> list[Row]:
    """Errors on each source, model and GPU by constants fitted without it."""
    from perfmodel.known_error import WORDS
    from perfmodel.left_out import left_out_errors

    rows: list[Row] = []
    for each in left_out_errors():
        told = "; ".join(
            f"{word} {each.half[name]:.2f} and {each.nine_of_ten[name]:.2f}"
            for name, word in WORDS.items()
            if name in each.half
        )
        rows.append(
            {
                "what": f"{each.group} left out, half and 90 % within",
                "name": each.name,
                "value": told,
                "points": each.points,
                **{f"half_{name}": factor for name, factor in each.half.items()},
                **{f"nine_of_ten_{name}": factor for name, factor in each.nine_of_ten.items()},
            }
        )
    return rows
