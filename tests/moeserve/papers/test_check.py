"""Every quick item's command is run, and gives what the list and its page say."""

import json

import pytest

from moeserve.cli import main
from moeserve.papers.item import items_of

pytestmark = pytest.mark.slow


def test_every_quick_item_comes_out_as_stated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["papers", "--check", "quick", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert not [row for row in rows if not row["as_stated"]]
    assert ended.value.code == 0
    assert len(rows) == sum(item.quick for item in items_of()) > 50
