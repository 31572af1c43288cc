"""A file beside the notebook that hides one of moeserve's packages, named before it does harm."""

from importlib.util import find_spec
from pathlib import Path

PACKAGES = (
    "catalog", "strategies", "perfmodel", "workloads", "servers", "microbench", "orchestrator",
    "analysis", "slurm", "diffusion_study",
)  # fmt: skip
"""They lie beside `moeserve` and are imported under their own names."""


class HiddenPackage(ImportError):
    """Something else has the name of a package that moeserve is made of."""


def refuse_hidden(root: Path | None = None) -> None:
    """Raise HiddenPackage where Python would import another module than moeserve's own.

    `root` is the folder that holds the packages.
    """
    home = (root or Path(__file__).parents[1]).resolve()
    for name in PACKAGES:
        found = _origin(name)
        if found is not None and found not in (home / name / "__init__.py", home / f"{name}.py"):
            raise HiddenPackage(
                f"{found} hides moeserve's own package {name!r}, which is in {home}: rename it, or "
                "start Python in another folder",
                name=name,
            )


def _origin(name: str) -> Path | None:
    """The file that stands for a name; None for a folder without one, which hides nothing."""
    try:
        spec = find_spec(name)
    except ValueError:  # somebody made a module of the name by hand
        return Path(f"<module {name}>")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve()
