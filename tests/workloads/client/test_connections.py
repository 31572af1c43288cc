"""Connections: kept, closed between requests, over TLS and Unix sockets, never by a proxy."""

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.measured_path import classes, run

pytestmark = pytest.mark.usefixtures("reader")


async def test_a_connection_closed_between_requests_is_no_failure(serve: Any, wire: Any) -> None:
    server = await serve([wire.answer(wire.stream(3)), "fin"])
    rows, _ = await run(server.url, 40, concurrency=4)
    assert classes(rows) == {"": 40}
    assert server.connections >= 40


async def test_a_request_that_meets_a_closing_connection_is_sent_again(
    serve: Any, wire: Any
) -> None:
    good = [wire.answer(wire.stream(3))]
    server = await serve(lambda n: ["fin"] if n == 1 else good)
    rows, stats = await run(server.url, 3)
    assert classes(rows) == {"": 3}
    assert stats.reconnects == 1
    assert [row.reconnects for row in rows] == [0, 1, 0]


async def test_a_server_that_announces_its_close_is_believed(serve: Any, wire: Any) -> None:
    head = wire.HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = head + b"".join(map(wire.chunk, wire.stream(3))) + wire.LAST
    server = await serve([answer, "fin"])
    rows, stats = await run(server.url, 5)
    assert classes(rows) == {"": 5}
    assert stats.reconnects == 0


async def test_a_unix_socket_is_an_endpoint(serve: Any, wire: Any, tmp_path: Path) -> None:
    server = await serve([wire.answer(wire.stream(3))], path=str(tmp_path / "s.sock"))
    rows, _ = await run(server.url, 5, concurrency=2)
    assert classes(rows) == {"": 5}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out",
         path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.mark.slow
async def test_tls_is_spoken_and_checked(serve: Any, wire: Any, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    answer = wire.answer(wire.stream(200))
    server = await serve([answer[:5000], 0.01, answer[5000:]], ssl=context)
    trusted, _ = await run(
        server.url, 20, concurrency=4, output_len=200, ca_file=str(certificate.with_suffix(".crt"))
    )
    assert classes(trusted) == {"": 20}
    assert sum(row.output_tokens for row in trusted) == 4000
    untrusted, _ = await run(server.url, 1)
    assert classes(untrusted) == {"CONNECT": 1}
    assert "certificate" in untrusted[0].error.lower()


async def test_proxies_of_the_environment_are_not_used(
    serve: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = await serve([wire.answer(wire.stream(3))])
    assert classes((await run(server.url))[0]) == {"": 1}
