"""One Chromium for the tests of pages."""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.chromium import CHROMIUM, Tab
from tests.machine import until


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Chromium for all tests of the module: where its tabs are asked for."""
    folder = tmp_path_factory.mktemp("profile")
    flags = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    silent = subprocess.DEVNULL
    with subprocess.Popen([str(CHROMIUM), *flags], stdout=silent, stderr=silent) as process:
        try:
            port_file = folder / "DevToolsActivePort"
            until(lambda: port_file.exists() and port_file.read_text().count("\n"))
            yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}/json"
        finally:
            process.terminate()


@pytest.fixture
async def tab(browser: str) -> AsyncIterator[Tab]:
    """A page of the test's own."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{browser}/new?about:blank") as answer:
            target = json.loads(await answer.text())
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.call(f"{domain}.enable")
            yield tab
        async with session.get(f"{browser}/close/{target['id']}"):
            pass
