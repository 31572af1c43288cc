"""The limit of open files, which is also the limit of streams."""

import resource

from catalog.errors import BadValue

OTHER_FILES = 64


def allow_open_files(sure: int, most: int) -> None:
    """Raise the soft limit to allow `most` connections, as far as the hard limit lets it.

    `sure` is how many there will be in any case: what the hard limit does not allow of these is
    refused. An open loop of many requests may, but need not, have them all in flight.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    ceiling = most + OTHER_FILES if hard == resource.RLIM_INFINITY else hard
    if sure + OTHER_FILES > ceiling:
        allowed = f"at most {ceiling - OTHER_FILES} under this system's limit of open files"
        raise BadValue("requests in flight", sure, f"{allowed} (ulimit -Hn)")
    wanted = min(most + OTHER_FILES, ceiling)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
