"""The network interface behind an address of this host."""

import psutil


def interface_of(address: str) -> dict[str, str | int | None] | None:
    """Return name and speed (Mbit/s; None where the driver does not say) of what has an address.

    None where no interface of this host has it.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            stats = psutil.net_if_stats().get(name)
            return {"interface": name, "mbit_per_s": stats.speed or None if stats else None}
    return None
