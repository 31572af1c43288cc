"""Published traces: read, cut, scaled, and what they share."""

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import BadFile, BadValue
from workloads.load.draw import draw
from workloads.load.profiles import parse_workload
from workloads.load.traffic import Requests

MOONCAKE = [
    {"timestamp": 500, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 2]},
    {"timestamp": 1500, "input_length": 600, "output_length": 7, "hash_ids": [0, 3]},
    {"timestamp": 1500, "input_length": 512, "output_length": 0, "hash_ids": [0]},
    {"timestamp": 4500, "input_length": 1100, "output_length": 9, "hash_ids": [0, 1, 4]},
]


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def drawn(text: str) -> Requests:
    workload = parse_workload(text)
    return draw(workload, np.random.default_rng(0), workload.prompts_for(None))


def test_mooncake_s_lines_give_times_lengths_and_shared_blocks(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", MOONCAKE)
    requests = drawn(f"trace:{path}")
    assert requests.input_lens.tolist() == [1030, 600, 1100], "a failed request is left out"
    assert requests.output_lens.tolist() == [5, 7, 9]
    assert requests.recorded_s is not None
    assert requests.recorded_s.tolist() == [0.0, 1.0, 4.0]
    workload = parse_workload(f"trace:{path}")
    assert workload.rate_per_s == pytest.approx(2 / 4)
    first, second, third = (
        np.asarray(each) for each in requests.prompts(np.random.default_rng(1), 1000)
    )
    assert np.array_equal(first[:512], second[:512])
    assert first[512] != second[512]
    assert np.array_equal(first[:1024], third[:1024])
    assert first[1024] != third[1024]


def test_a_trace_is_cut_in_time_and_scaled_in_rate_and_length(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", MOONCAKE)
    requests = drawn(f"trace:{path},from=1,to=4.5,speed=2,scale=0.5")
    assert requests.input_lens.tolist() == [300, 550]
    assert requests.recorded_s is not None
    assert requests.recorded_s.tolist() == [0.0, 1.5]


def test_bailian_s_lines_are_known_by_their_chat_id(tmp_path: Path) -> None:
    lengths = [(1, 2.5, 33, [0, 1, 2]), (2, 4.0, 17, [0, 3])]
    rows: list[dict[str, object]] = [
        {"chat_id": chat, "timestamp": at_s, "input_length": length, "output_length": 4,
         "hash_ids": hashes}
        for chat, at_s, length, hashes in lengths
    ]  # fmt: skip
    requests = drawn(f"trace:{written(tmp_path / 't.jsonl', rows)}")
    assert requests.recorded_s is not None
    assert requests.recorded_s.tolist() == [0.0, 1.5]
    assert requests.content is not None
    assert requests.content.shareable_tokens() == 16


def test_times_that_may_be_seconds_are_replayed_only_once_their_unit_is_said(
    tmp_path: Path,
) -> None:
    """`vllm bench serve` and GuideLLM write Mooncake's fields with seconds."""
    rows: list[dict[str, object]] = [
        {"timestamp": at_s, "input_length": 9, "output_length": 2} for at_s in (0.0, 0.5, 1.5)
    ]
    path = written(tmp_path / "t.jsonl", rows)
    with pytest.raises(BadFile, match=r"has 1,333 requests a second.*,unit=s or ,unit=ms"):
        parse_workload(f"trace:{path}")
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        recorded_s = drawn(f"trace:{path},unit={unit}").recorded_s
        assert recorded_s is not None
        assert recorded_s.tolist() == pytest.approx([0, 0.5 * scale, 1.5 * scale])
    with pytest.raises(BadValue, match="unit=s or ms"):
        parse_workload(f"trace:{path},unit=min")


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("Timestamp,Request tokens,Response tokens\n1,2,3\n", ",unit=s", "a table.*not unit="),
        ("Timestamp,Request tokens,Response tokens\n1,2,3\n", ",block=16", "no hash_ids"),
        ('{"timestamp": 1, "input_length": 5, "output_length": 2, "delay": 9}\n', "",
         "line 1: delay: waits for an earlier answer"),
    ],
)  # fmt: skip
def test_what_a_trace_has_no_use_for_is_refused(
    tmp_path: Path, text: str, options: str, told: str
) -> None:
    path = tmp_path / "t"
    path.write_text(text)
    with pytest.raises(BadFile, match=told):
        parse_workload(f"trace:{path}{options}")


@pytest.mark.parametrize(
    ("text", "times"),
    [
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
            4.314579,
        ),
        (
            "\ufeffTIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2024-05-10T00:00:00Z,374,44\n2024-05-10 02:00:04.314579+02:00,396,109\n",
            4.314579,
        ),
        (
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "5,ChatGPT,374,44,418,Conversation log\n7,ChatGPT,9,0,9,API log\n"
            "45,GPT-4,396,109,505,Conversation log\n",
            40.0,
        ),
    ],
)
def test_azure_s_and_burstgpt_s_tables_are_known_by_their_columns(
    tmp_path: Path, text: str, times: float
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    requests = drawn(f"trace:{path}")
    assert requests.input_lens.tolist() == [374, 396]
    assert requests.output_lens.tolist() == [44, 109]
    assert requests.recorded_s is not None
    assert requests.recorded_s.tolist() == pytest.approx([0.0, times])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"timestamp": 1, "input_length": 5}\n', "line 1: .*output_length"),
        ('{"timestamp": 1, "input_length": 5, "output_length": 2}\n{"timest', "line 2: "),
        ('{"timestamp": 1, "input_length": -5, "output_length": 2}\n', "line 1: input_length: -5"),
        ('{"timestamp": 1, "input_length": 5, "output_length": 2, "hash_ids": [1, 2]}\n',
         "line 1: hash_ids: 2 blocks of 512 are not 5 tokens.*block=TOKENS"),
        ("a,b\n1,2\n", "line 1: header: no trace that is known"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "line 2: TIMESTAMP: 'yest"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,x,2\n",
         "line 2: ContextTokens: 'x'"),
        ("\n \n", "no line|header"),
    ],
)  # fmt: skip
def test_a_bad_trace_names_file_line_and_field(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad"
    path.write_text(text)
    with pytest.raises(BadFile, match=told) as error:
        parse_workload(f"trace:{path}")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
