"""Files of prompts: what is asked of each line, and what is wrong of a bad one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import BadFile, BadValue
from workloads.load.build import comparable, pinned
from workloads.load.files.entries import read_entries
from workloads.load.files.prompts import read_prompts
from workloads.load.profiles import TEXTS, parse_workload
from workloads.load.workload import PromptFile, Workload

tokenizers = pytest.importorskip("tokenizers", reason="moeserve[hf] brings it")

CHAT = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c d e"},
        {"role": "user", "content": "a"}]  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of one token a word, with a chat template."""
    words = ["?", "user", "assistant", *"abcdefgh"]
    built = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?")
    )
    built.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    place = tmp_path / "model"
    place.mkdir()
    built.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return place


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def source_of(workload: Workload) -> PromptFile:
    source = workload.parts[0].source
    assert isinstance(source, PromptFile)
    return source


def test_text_ids_and_chats_become_the_model_s_own_tokens(tmp_path: Path, folder: Path) -> None:
    path = written(
        tmp_path / "p.jsonl",
        {"prompt": "a b c", "output_len": 4},
        {"prompt_token_ids": [5, 6], "output_len": 9},
        {"messages": CHAT},
    )
    workload = parse_workload(f"file:{path}", folder)
    entries = read_entries(source_of(workload))
    assert [np.asarray(each.prompt).tolist() for each in entries] == [
        [3, 4, 5], [5, 6], [1, 3, 4, 2, 5, 6, 7, 1, 3, 2],
    ]  # fmt: skip
    assert [each.output_len for each in entries] == [4, 9, 256]
    assert (workload.available, workload.input_len) == (3, 5)
    assert workload.longest_at.endswith("p.jsonl: line 3: prompt")
    assert workload.has_prompts
    assert workload.shares


def test_a_conversation_is_divided_into_its_turns_with_recorded_answers(
    tmp_path: Path, folder: Path
) -> None:
    path = written(tmp_path / "p.jsonl", {"messages": CHAT}, {"prompt": "a"})
    entries = read_entries(source_of(parse_workload(f"file:{path},turns=2,think=1", folder)))
    assert [(each.session, each.turn, each.output_len) for each in entries] == [
        (0, 0, 3), (0, 1, 256), (1, 0, 256),
    ]  # fmt: skip
    first, second = (np.asarray(each.prompt) for each in entries[:2])
    assert first.tolist() == [1, 3, 4, 2]
    assert second[:3].tolist() == [1, 3, 4]


def test_a_chat_that_ends_with_an_answer_asks_for_as_many_tokens(
    tmp_path: Path, folder: Path
) -> None:
    path = written(tmp_path / "p.jsonl", {"messages": CHAT[:2]})
    (entry,) = read_entries(source_of(parse_workload(f"file:{path}", folder)))
    assert (np.asarray(entry.prompt).tolist(), entry.output_len) == ([1, 3, 4, 2], 3)


def test_sharegpt_s_first_exchange_is_asked_and_whole_conversations_by_turns(
    tmp_path: Path, folder: Path
) -> None:
    said = [("human", "a b"), ("gpt", "c d"), ("human", "e"), ("gpt", "f g h")]
    rows = [
        {"id": "1", "conversations": [{"from": who, "value": what} for who, what in said]},
        {"id": "2", "conversations": [{"from": "gpt", "value": "no question"}]},
    ]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(rows))
    (entry,) = read_entries(source_of(parse_workload(f"file:{path}", folder)))
    assert (np.asarray(entry.prompt).tolist(), entry.output_len) == ([3, 4], 2)
    turns = read_entries(source_of(parse_workload(f"file:{path},turns=9", folder)))
    assert [each.output_len for each in turns] == [2, 3]


def test_without_a_tokenizer_text_stays_text_and_its_length_is_not_known(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", {"prompt": "a b c"})
    workload = parse_workload(f"file:{path},natural,output=9")
    assert workload.known_input_len is None
    assert workload.longest_tokens == 0
    assert (workload.output_len, workload.natural) == (9, True)


def test_a_file_is_named_by_what_it_holds_and_never_by_where_it_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    paths = [written(tmp_path / name / "p.jsonl", {"prompt": "a"}) for name in ("one", "two")]
    first, second = (parse_workload(f"file:{path}") for path in paths)
    assert first.name == second.name
    assert first.stored == second.stored
    pins = [pinned(f"file:{path},output=5", TEXTS) for path in paths]
    assert pins[0] != pins[1]
    assert pinned(pins[0], TEXTS) == pins[0]
    assert comparable(pins[0], TEXTS) == comparable(pins[1], TEXTS)
    written(paths[1], {"prompt": "b"})
    assert parse_workload(f"file:{paths[1]}").name != first.name
    read_entries.cache_clear()
    read_prompts.cache_clear()
    with pytest.raises(BadFile, match="has changed: its hash is no longer"):
        parse_workload(pins[1])


def test_a_hostile_name_is_harmless_in_the_canonical_text(tmp_path: Path) -> None:
    path = written(tmp_path / "evil\x1b[31m\n+,@#x.jsonl", {"prompt": "a"})
    assert parse_workload(f"file:{path}").name.startswith("file:evil__31m_____x.jsonl#")


def test_no_more_is_asked_than_a_file_has(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", {"prompt": "a"}, {"prompt": "b"})
    assert parse_workload(f"file:{path}").prompts_for(128) == 2
    assert parse_workload(f"file:{path},prompts=1").prompts_for(128) == 1
    with pytest.raises(BadValue, match="the 2 that there are"):
        parse_workload(f"file:{path},prompts=3")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"prompt": "a"}\n{"prompt": \n', "line 2: "),
        (b'{"query": "a"}\n', "line 1: prompt: one of prompt, .* found none"),
        (b'{"prompt": "a", "text": "b"}\n', "line 1: text: one of .* found prompt, text"),
        (b'{"prompt": "a", "max_tokens": 0}\n', "line 1: max_tokens: 0 is not"),
        (
            b'{"prompt": "a", "output_len": 4, "output_tokens": 5}\n',
            "line 1: output_len: .*one length",
        ),
        (b'{"prompt": "a", "image_files": ["x.png"]}\n', "line 1: image_files: text alone"),
        (b'[{"prompt": "a"}, {"query": "b"}]', "line 2: prompt: one of prompt"),
        (b'{"prompt": "a", "prompt_token_ids": [1]}\n', "line 1: prompt_token_ids: one of"),
        (b'{"prompt": ""}\n', "line 1: prompt: is empty"),
        (b'{"prompt": "a", "output_len": 0}\n', "line 1: output_len: 0 is not"),
        (b'{"prompt": "a", "output_len": "x"}\n', "line 1: .*output_len"),
        (b'{"prompt_token_ids": [1, -2]}\n', "line 1: prompt_token_ids: -2"),
        (b'{"messages": [{"role": "user"}]}\n', "line 1: messages.content"),
        (b'{"messages": [{"role": "system", "content": "a"}]}\n', "line 1: messages.role"),
        (b'[{"conversations": 1}]', "line 1: .*conversations"),
        (b'[{"prompt": "a"},', "line 1: is no JSON array"),
        (b'{"prompt": "a", "n": 4}\n', "line 1: n: one answer is asked"),
        (b'{"prompt": "a", "n": 1}\n{"prompt": "a", "system_prompt": "b"}\n', "line 2: system_pro"),
        (b'{"prompt": "a", "delay": 500, "body": "b"}\n', "line 1: delay: .*turns="),
        (b'{"body": {"messages": [{"role": "user"}]}}\n', "line 1: messages.content"),
        (b"[]", "holds no conversation"),
        (b"\xff\xfe\n", "line 1: "),
        (b"\n \n", "no line that is not blank"),
        (b"", "is empty"),
    ],
)
def test_a_bad_file_names_file_line_and_field(tmp_path: Path, text: bytes, told: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text)
    with pytest.raises(BadFile, match=told) as error:
        parse_workload(f"file:{path}")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_turns_of_a_file_without_conversations_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", {"prompt": "a"}, {"prompt_token_ids": [1]})
    with pytest.raises(BadFile, match="no conversation that turns="):
        parse_workload(f"file:{path},turns=2")
    with pytest.raises(BadValue, match="cut= of a plain text, or turns="):
        parse_workload(f"file:{path},turns=2,cut=9")


def test_what_is_no_file_or_far_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    large = tmp_path / "large.jsonl"
    large.touch()
    os.truncate(large, 2 * 2**30)
    os.mkfifo(tmp_path / "pipe")
    refused = {
        large: "2,147,483,648 bytes",
        tmp_path / "pipe": "not a regular file",
        tmp_path: "not a regular file",
        tmp_path / "none": "no such",
    }
    for path, told in refused.items():
        with pytest.raises(BadFile, match=told):
            parse_workload(f"file:{path}")


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("prompt", "output_tokens"),
        ("text", "output_length"),
        ("text_input", "max_tokens"),
        ("prompt", "max_completion_tokens"),
        ("prompt", "output_tokens_count"),
        ("prompt", "max_new_tokens"),
    ],
)
@pytest.mark.parametrize("form", ["lines", "array", "byte order mark"])
def test_others_names_of_a_prompt_and_of_its_answer_s_length_are_read_alike(
    tmp_path: Path, folder: Path, name: str, length: str, form: str
) -> None:
    rows = [{name: "a b", length: 7, "id": 1}, {name: "c", length: 8, "images": []}]
    path = tmp_path / "p.jsonl"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    mark = "\ufeff" if form == "byte order mark" else ""
    path.write_text(json.dumps(rows) if form == "array" else mark + lines)
    entries = read_entries(source_of(parse_workload(f"file:{path}", folder)))
    assert [(len(np.asarray(each.prompt)), each.output_len) for each in entries] == [(2, 7), (1, 8)]


@pytest.mark.parametrize(
    "row",
    [
        {"conversation_id": "1", "conversation": [{**said, "turn": 1} for said in CHAT]},
        {"custom_id": "1", "url": "/v1/chat/completions", "body": {"messages": CHAT}},
        {"id": "1", "conversations": [
            {"from": "human", "value": "a b"}, {"from": "gpt", "value": "c d e"},
            {"from": "human", "value": "a"},
        ]},
    ],
    ids=["LMSYS and WildChat", "OpenAI batch", "ShareGPT"],
)  # fmt: skip
@pytest.mark.parametrize("array", [False, True])
def test_others_conversations_are_divided_into_their_turns(
    tmp_path: Path, folder: Path, row: dict[str, object], array: bool
) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps([row]) if array else json.dumps(row) + "\n")
    entries = read_entries(source_of(parse_workload(f"file:{path},turns=2", folder)))
    assert [(len(np.asarray(e.prompt)), e.turn, e.output_len) for e in entries] == [
        (4, 0, 3), (10, 1, 256),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "trace", "lengths"])
@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (b"\x1f\x8b\x08\x00", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PAR1", "Parquet"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    ],
)  # fmt: skip
def test_what_is_packed_is_refused_by_its_form(
    tmp_path: Path, kind: str, begin: bytes, told: str
) -> None:
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(begin + b"\x00\xff" * 9)
    with pytest.raises(BadFile, match=f"{told}.*unpack or export it first"):
        parse_workload(f"{kind}:{path}")


def test_a_histogram_s_pairs_are_drawn_by_their_counts(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("input_len,output_len,count\n10,3,3\n90,5,1\n")
    workload = parse_workload(f"lengths:{path},prompts=400")
    assert (workload.input_len, workload.output_len, workload.longest_tokens) == (30, 4, 95)
    assert workload.num_prompts == 400
    for header in ("input_len,output_len,weight", "input_len,output_len,count,count"):
        path.write_text(f"{header}\n10,3,5,5\n")
        with pytest.raises(BadFile, match=r"line 1: '(weight|count)': no column of"):
            parse_workload(f"lengths:{path}")
    path.write_text("input_len,output_len\n10,0\n")
    with pytest.raises(BadFile, match="line 2: output_len: '0'"):
        parse_workload(f"lengths:{path}")


def test_a_plain_text_is_cut_to_just_the_lengths_and_no_token_twice(
    tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "book.txt"
    path.write_text("a b c d e f g h " * 8)
    workload = parse_workload(f"file:{path},cut=5-9,output=3,tokenizer={folder}")
    entries = read_entries(source_of(workload))
    lengths = [len(np.asarray(each.prompt)) for each in entries]
    assert set(lengths) <= set(range(5, 10))
    assert 64 - 9 < sum(lengths) <= 64
    joined = np.concatenate([np.asarray(each.prompt) for each in entries])
    assert joined.tolist() == ([*range(3, 11)] * 8)[: len(joined)]
    assert {each.output_len for each in entries} == {3}
    assert "tokenizer=model#" in workload.name
    assert str(tmp_path) not in workload.name
    with pytest.raises(BadFile, match=r"line 1: prompt: .*tokenizer=FOLDER"):
        parse_workload(f"file:{path},cut=5")
    with pytest.raises(BadFile, match=r"line 1: prompt: is no JSON.*cut=TOKENS"):
        parse_workload(f"file:{path}")
