"""How far a server's certificate is trusted."""

import ssl
from pathlib import Path

from catalog.errors import BadFile
from catalog.named_file import check_named


def tls_context(ca_file: str | None, *, insecure: bool = False) -> ssl.SSLContext:
    """Trust the certificates in `ca_file` or else the system's; `insecure` asks for none.

    Raises BadFile for a file without certificates.
    """
    if ca_file is not None:
        check_named(Path(ca_file), "certificates")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadFile(ca_file, f"cannot be read as certificates (PEM): {error}") from error
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
