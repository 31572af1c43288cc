"""Texts are sent in a server's own tokens where it says them, else as they are."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from catalog.errors import EndpointError
from orchestrator.measure.tokenize import tokenised
from orchestrator.measure.traffic import shared_figures
from workloads.load.draw import draw
from workloads.load.profiles import parse_workload
from workloads.load.traffic import Traffic
from workloads.transport.target import Target

TARGET = Target(base_url="http://127.0.0.1:9", model="m")


class Server:
    """Answers `/tokenize` with a token a character, or not at all."""

    def __init__(self, *, knows: bool = True) -> None:
        self.knows, self.asked = knows, list[Any]()

    async def post(self, path: str, body: Any) -> bytes:
        self.asked.append((path, body))
        if not self.knows:
            raise EndpointError(f"{path}: answered 404", status=404)
        text = body.get("prompt") or "".join(each["content"] for each in body["messages"])
        return msgspec.json.encode({"tokens": [ord(c) for c in text], "count": len(text)})


def traffic(path: Path) -> Traffic:
    rows = [{"prompt": "abcd" * 8}, {"prompt_token_ids": [1, 2]},
            {"messages": [{"role": "user", "content": "xyz"}]}]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    requests = draw(parse_workload(f"file:{path}"), np.random.default_rng(0), 3)
    return Traffic(requests=requests, prompts=requests.prompts(np.random.default_rng(0), 500))


async def test_texts_and_chats_become_the_server_s_own_ids(tmp_path: Path) -> None:
    server: Any = Server()
    found = await tokenised(traffic(tmp_path / "p"), server, TARGET, takes_ids=True)
    assert found.requests.input_lens.tolist() == [32, 2, 3]
    assert [np.asarray(each).tolist() for each in found.prompts][1:] == [[1, 2], [120, 121, 122]]
    assert [path for path, _ in server.asked] == ["/tokenize"] * 2
    assert server.asked[1][1]["add_generation_prompt"] is True
    assert shared_figures(found) == {"prefix_shareable_share": 0.0}


async def test_where_ids_are_not_taken_texts_are_counted_and_stay(tmp_path: Path) -> None:
    server: Any = Server()
    found = await tokenised(traffic(tmp_path / "p"), server, TARGET, takes_ids=False)
    assert found.requests.input_lens.tolist() == [32, 2, 3]
    assert found.prompts[0] == "abcd" * 8
    assert shared_figures(found) == {}, "what texts share in tokens is not known"


async def test_a_server_without_it_is_sent_the_texts(tmp_path: Path) -> None:
    server: Any = Server(knows=False)
    sent = traffic(tmp_path / "p")
    found = await tokenised(sent, server, TARGET, takes_ids=True)
    assert found is sent
    assert len(server.asked) == 1
    assert found.requests.input_lens.tolist() == [-1, 2, -1]
