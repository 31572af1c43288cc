"""The limit of open files, which is also the limit of streams."""

import resource

from catalog.errors import BadValue

OTHER_FILES = 64


def allow_open_files(connections: int) -> None:
    """Raise the soft limit as far as needed; refuse what the hard limit does not allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        allowed = f"at most {hard - OTHER_FILES} under this system's limit of open files"
        raise BadValue("requests in flight", connections, f"{allowed} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
