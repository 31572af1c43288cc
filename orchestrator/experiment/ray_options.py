"""How servers are spread over a Ray cluster; described once, for YAML and flags alike."""

import msgspec

from catalog.errors import BadValue


class RayOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `--launcher ray`."""

    address: str | None = None
    """HOST:PORT of a running cluster's head; None starts one on this host."""
    token_file: str | None = None
    """The cluster's token; None leaves it to Ray's own variables and ~/.ray/auth_token."""
    allow_unauthenticated: bool = False
    """Whether a cluster that asks nobody for a token may be used."""
    share_nodes: bool = False
    """Whether two server groups may run on one node at the same time."""
    split_tp: bool = False
    """Whether a tensor-parallel group may span nodes."""
    client_on: str = "server"
    """Where the load generator runs: `server`, beside it; `driver`; or a node's name."""
    wait_s: float = 600.0
    """How long a group may wait for GPUs that somebody else holds."""

    def __post_init__(self) -> None:
        if not self.wait_s > 0:
            raise BadValue("ray.wait_s", self.wait_s, "seconds above 0")
        if not self.client_on:
            raise BadValue("ray.client_on", self.client_on, "server, driver, or a node's name")
        if self.address is not None:
            split_address(self.address)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; Ray's own discovery may find somebody else's cluster."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise BadValue("--ray-address", address, "HOST:PORT of the head (`ray start` prints it)")
    return host.strip("[]"), int(port)
