"""Where tables of measured kernels are: two kinds of folder.

The tables of AIConfigurator (`aiconfigurator-core` on PyPI, Apache-2.0), and what `moeserve
microbench experts -o DIR` wrote.
"""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import msgspec

from catalog.errors import BadFile, MissingExtra
from perfmodel.kernel_tables import aiconfigurator, microbench
from perfmodel.kernel_tables.kernels import Kernels, Wanted

INSTALLED = "installed"
PACKAGE, EXTRA = "aiconfigurator-core", "kernels"
INSIDE = "aiconfigurator_core/systems"
EXPECTED = (
    f"no tables of kernels: neither a folder {aiconfigurator.DATA}/ of {PACKAGE}, nor a "
    f"{microbench.RESULT} of `moeserve microbench experts -o`"
)


class KernelTables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder of tables."""

    kind: Literal["aiconfigurator", "microbench"]
    folder: str
    name: str
    """Whose they are."""

    @property
    def own(self) -> bool:
        """Whether a user measured them."""
        return self.kind == "microbench"

    def kernels(self, wanted: Wanted) -> Kernels:
        """What of a step was measured on this GPU."""
        reader = microbench.kernels if self.own else aiconfigurator.kernels
        found = reader(Path(self.folder), wanted)
        return found.named(f"{found.name} ({self.name})")


def kernel_tables(text: str) -> KernelTables:
    """Find the installed tables, or those of a folder; raise where there are none."""
    if text == INSTALLED:
        return _installed()
    folder = Path(text)
    if (folder / microbench.RESULT).is_file():
        return KernelTables(kind="microbench", folder=text, name=text)
    for root in (folder, folder / "systems"):
        if (root / aiconfigurator.DATA).is_dir():
            return KernelTables(kind="aiconfigurator", folder=str(root), name=text)
    if not folder.is_dir():
        raise BadFile(text, "not a folder" if folder.exists() else "no such folder")
    raise BadFile(text or ".", EXPECTED)


def installed_gpus(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these GPUs whose kernels the installed tables have; none where none are there."""
    try:
        folder = Path(_installed().folder)
    except (MissingExtra, BadFile):
        return ()
    return tuple(name for name in names if aiconfigurator.has(folder, name))


def _installed() -> KernelTables:
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise MissingExtra("--kernel-tables installed", EXTRA) from None
    folder = Path(str(package.locate_file(INSIDE)))
    if not (folder / aiconfigurator.DATA).is_dir():
        raise BadFile(folder, EXPECTED)
    name = f"{PACKAGE} {package.version}"
    return KernelTables(kind="aiconfigurator", folder=str(folder), name=name)
