"""What is a secret by its name or its shape, and that masking knows it in every form."""

import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import secrets
from catalog.secret_names import is_secret_name
from catalog.secrets import hide, redact, secrets_in

SECRET_NAMES = """
    HF_TOKEN GITHUB_TOKEN API_KEY VLLM_API_KEY OPENAI_KEY SSH_PRIVATE_KEY AWS_SECRET_ACCESS_KEY
    AWS_ACCESS_KEY_ID AWS_SESSION_TOKEN PGPASSWORD PGPASS MYSQL_PWD DB_PASS DB_PASSWORD
    REDISCLI_AUTH
    GITHUB_PAT MY_PAT AUTH BASIC_AUTH AUTH_HEADER COOKIE SESSION_COOKIE MY_JWT NPM_AUTH_TOKEN
    CREDENTIALS GOOGLE_APPLICATION_CREDENTIALS PASSPHRASE WANDB_API_KEY ENCRYPTION_KEY APIKEY
    api-key api_key hf-token hf_token ssl-keyfile-password apiKey secretKey x-api-key Authorization
    aws_secret_access_key kv.aws.secretAccessKey accessToken client_secret TOKEN TOKEN_2 LDAPPASS
    admin-api-key API_KEYS ACCESS_TOKENS SENTRY_DSN SIGNING_KEY MASTER_KEY PASSWORD1
""".split()
PLAIN_NAMES = """
    MAX_TOKEN_LEN TOKENIZERS_PARALLELISM VLLM_MAX_TOKENS_HINT PWD OLDPWD SSH_AUTH_SOCK CACHE_KEY
    PRIMARY_KEY EOS_TOKEN PAD_TOKEN_ID TOKEN_BUDGET NUM_TOKEN PATH PATTERN KEYBOARD AUTHOR AUTH_TYPE
    COMPASS BYPASS max-num-batched-tokens return-tokens-as-token-ids long-prefill-token-threshold
    moe-token-dispatcher-type tokenizer tokenizer-mode HF_TOKEN_PATH ssl-keyfile api-key-file
    speculative-num-draft-tokens prompt_token_ids COMPATIBLE MONKEY key PASS_CONFIG forward-pass
    OMP_NUM_THREADS CUDA_VISIBLE_DEVICES hash_key public_key tokens usage_token_count
""".split()
SHAPES = [
    "hf_" + "Q1" * 17,
    "sk-proj-" + "a1B2" * 8,
    "ghp_" + "a" * 36,
    "gho_" + "a" * 36,
    "github_pat_" + "1A_" * 20,
    "glpat-" + "x" * 20,
    "nvapi-" + "y" * 60,
    "xoxb-1234567890-abcdef",
    "AIza" + "S" * 35,
    "AKIA" + "A" * 16,
    "ASIA" + "B" * 16,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "Bearer abcdefgh12345678",
    "Basic dXNlcjpwYXNz",
    "https://user:password@host/x",
    "https://secret-token@host/x",
    "postgres://u:p@db/x",
    "https://b.s3.amazonaws.com/x?X-Amz-Signature=0123abcd&y=1",
    "https://a.blob.core.windows.net/c?sv=1&sig=abc%2Bdef",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=",
    "https://hooks.slack.com/services/T0/B0/XXXX",
]
PLAIN = [
    "https://host:8000/v1/models",
    "git clone https://host/org/repo.git",
    "meta-llama/Llama-3.1-8B-Instruct",
    "sk-learn-compatible-estimators",
    "max_tokens=128",
    "--kv-transfer-config={\"kv_connector\":\"NixlConnector\",\"kv_role\":\"kv_both\"}",
    "use_auth_token=true",
    '{"num_key_value_heads": 8, "im_start_token": "<|im_start|>", "eos_token_id": [1, 2]}',
    '{"chat_template_kwargs": {"enable_thinking": false}, "key_dim": 64}',
    "shelf_Abcdefghijklmnopqrstuvwxyz",
]  # fmt: skip
PAIRS = [
    '{"aws_secret_access_key": "abc"}',
    '{"kv": {"password": "abc"}}',
    "{'api_key': 'abc'}",
    '{\\"api_key\\": \\"abc\\"}',
    "X-Api-Key: abc",
    "Authorization: Digest abc",
    "--api_key=abc",
    "HF_TOKEN=abc",
    "https://host/x?access_token=abc",
    "Cookie: session=1",
    "--header=X-Api-Key: abc",
    "env HF_TOKEN=abc",
]


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_hidden", set())


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_that_says_so_is_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_name_that_only_sounds_like_one_is_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("text", SHAPES)
def test_a_token_is_known_by_its_shape_and_masked(text: str) -> None:
    assert list(secrets_in(f"see {text}"))
    masked = redact(f"see {text} end")
    assert "***" in masked
    assert text not in masked


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_is_let_through_and_left_as_it_is(text: str) -> None:
    assert list(secrets_in(text)) == []
    assert redact(text) == text


@pytest.mark.parametrize("text", PAIRS)
def test_a_named_value_is_found_in_json_headers_flags_and_urls(text: str) -> None:
    assert list(secrets_in(text))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=40))
def test_a_key_of_this_process_is_masked_in_every_form_a_server_may_give_it(key: str) -> None:
    before = set(secrets._hidden)
    try:
        hide(key)
        for form in (key, json.dumps({"k": key}), f"?k={quote(key, safe='')}&", f"<p>{key}</p>"):
            assert key not in redact(f"denied: {form} sent")
        assert json.dumps(key)[1:-1] not in redact(json.dumps({"k": key}))
        assert quote(key, safe="") not in redact(f"?k={quote(key, safe='')}&")
    finally:
        secrets._hidden.clear()
        secrets._hidden.update(before)


def test_a_key_that_holds_another_is_masked_whole() -> None:
    hide("canary-1234")
    hide("canary-1234-and-more")
    assert redact("x canary-1234-and-more y") == "x *** y"


def test_a_key_too_short_masks_no_ordinary_word() -> None:
    hide("a")
    hide("")
    assert redact("a banana") == "a banana"


UNITS = ["eyJ", "sk-", "a=", "://", "bearer ", "a", "hf_", "=", "A_", "x.", '"', "token:", " ", "-"]


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_takes_quadratic_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    began = time.process_time()
    redact(text)
    list(secrets_in(text))
    is_secret_name(text[:100_000])
    assert time.process_time() - began < 2
