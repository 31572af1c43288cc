"""A site's own options: of each of its clusters, in a file; and a user's defaults for sbatch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import BadFile, UnknownName
from strategies.documents import read_yaml

PROFILE = Path("~/.config/moeserve/slurm.yaml")


class SiteProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A site's clusters, each with the options that hold there."""

    default: str | None = None
    clusters: dict[str, dict[str, Any]]


def site_options(path: Path | None, *, cluster: str | None, found: str) -> dict[str, Any]:
    """Return a cluster's options from a profile; `found` is what Slurm calls itself."""
    where = (path or PROFILE).expanduser()
    if not where.is_file():
        if path is not None or cluster is not None:
            raise BadFile(where, "no such site profile")
        return {}
    profile = _read(where)
    name = cluster or (found if found in profile.clusters else profile.default)
    if name is None and path is not None:
        way = f"--cluster with one of {', '.join(profile.clusters)}, or `default: NAME` in it"
        raise BadFile(where, f"which of its clusters this is ({found or 'no Slurm'}): {way}")
    if name is None:
        return {}
    if name not in profile.clusters:
        raise UnknownName("cluster", name, profile.clusters)
    return profile.clusters[name]


def user_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a user's variables of sbatch say of where jobs go.

    What is submitted again comes from another environment: a node's, where they are not set.
    """
    names = ("account", "constraint", "partition", "qos", "reservation")
    found = {name: environment.get(f"SBATCH_{name.upper()}", "") for name in names}
    return {name: value for name, value in found.items() if value}


def _read(path: Path) -> SiteProfile:
    try:
        return msgspec.convert(read_yaml(path, "site profile"), SiteProfile, strict=True)
    except msgspec.ValidationError as error:
        raise BadFile(path, f"{error}; fields: default, clusters") from error
