"""A real nginx with TLS: with its own buffers it is seen, without them it does not matter."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import EndpointError
from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.ports import port_range
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from tests.machine import slowness, until
from tests.simulated_server import simulated

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") is None
        or shutil.which("openssl") is None,
        reason="nginx or openssl is not installed: see .ci/run",
    ),
]
# Again where they differ: a moment in which this machine was busy is not the proxy's doing.
ROUNDS = 3
FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextlib.contextmanager
def nginx(folder: Path, upstream: str, extra: str = "") -> Iterator[str]:
    """Serve TLS in front of a server, with a certificate of its own and else nginx's defaults."""
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [*("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
         *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
         *("-keyout", str(key), "-out", str(certificate))],
        check=True, capture_output=True,
    )  # fmt: skip
    with port_range() as ports:
        places = " ".join(f"{name}_temp_path {folder}/{name};" for name in FOLDERS)
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{}} http {{ access_log off; {places}\n"
            f"server {{ listen 127.0.0.1:{ports.start} ssl; ssl_certificate {certificate};\n"
            f"ssl_certificate_key {key}; location / {{ proxy_pass {upstream}; {extra} }} }} }}\n"
        )
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
        assert program is not None
        process = subprocess.Popen(
            [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: (folder / "pid").exists() or process.poll() is not None)
            assert process.poll() is None, (folder / "error.log").read_text()
            yield f"https://127.0.0.1:{ports.start}"
        finally:
            process.terminate()
            process.wait()


async def measured(url: str, root: Path, **options: Any) -> dict[str, Any]:
    asked = Experiment(
        endpoint=url,
        endpoint_options=EndpointOptions(**options),
        workloads=("16:128:8",),
        concurrency="4",
    )
    await run_study(await prepare(asked), root, listen=lambda _: None)
    (row,) = run_rows(root)
    return row


def apart(plain: dict[str, Any], right: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the figures that the way through nginx changes by more than a moment's noise."""
    noise_ms = {"median_ttft_ms": 10 * slowness(), "median_itl_ms": 1.0}
    pairs = {name: (right[name], plain[name]) for name in noise_ms}
    return {
        name: pair
        for name, pair in pairs.items()
        if pair[0] != pytest.approx(pair[1], rel=0.2, abs=noise_ms[name])
    }


def clumped(row: dict[str, Any]) -> bool:
    return "CLUMPED" in row["verdict_reasons"].split(";")


async def test_default_buffers_are_flagged_and_without_them_the_numbers_are_right(
    tmp_path: Path,
) -> None:
    async with simulated(tmp_path) as url:
        with nginx(tmp_path / "default", url) as proxy:
            with pytest.raises(EndpointError, match=r"not trusted.*--ca-file"):
                await measured(proxy, tmp_path / "untrusted")
            authority = str(tmp_path / "default" / "cert.pem")
            held = await measured(proxy, tmp_path / "held", ca_file=authority)
        with nginx(tmp_path / "unbuffered", url, "proxy_buffering off;") as proxy:
            for turn in range(ROUNDS):
                plain = await measured(url, tmp_path / f"plain{turn}")
                right = await measured(proxy, tmp_path / f"right{turn}", insecure=True)
                if not (apart(plain, right) or clumped(plain) or clumped(right)):
                    break
    assert clumped(held)
    assert not clumped(right)
    assert not clumped(plain)
    assert held["median_ttft_ms"] > 2 * right["median_ttft_ms"]
    assert not apart(plain, right)
    assert (right["client_reader"], held["total_output_tokens"]) == ("python", 8 * 128)
