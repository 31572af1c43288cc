"""The way out that a refusal in a server's own words leads to, and none where there is none."""

import pytest

from orchestrator.engines.endpoint.advice import advice
from orchestrator.experiment.endpoint_options import EndpointOptions

IDS, CHAT = EndpointOptions(), EndpointOptions(api="chat")
KIND = '"type":"invalid_request_error"'


@pytest.mark.parametrize(
    ("options", "words", "way_out"),
    [
        (IDS, '404: {"message":"This is a chat model and not supported in v1/completions. Did you '
         'mean to use v1/chat/completions?"}', "--api chat"),
        (IDS, '404: {"detail":"Not Found"}', "--api chat"),
        (CHAT, '400: {"message":"you must provide a chat template"}', "--api completions"),
        (IDS, '404: {"message":"model \\"x\\" not found, try pulling it"}', "--served-model-name"),
        (IDS, '400: {"message":"/completions: Invalid model name passed in model=x"}',
         "--served-model-name"),
        (IDS, '400: {"detail":"Unknown model: x"}', "--served-model-name"),
        (IDS, "422: the target type: prompt: data did not match any variant of enum Prompt",
         "--prompt text"),
        (IDS, f'400: {{"message":"cannot unmarshal array into prompt of type string",{KIND}}}',
         "--prompt text"),
        (IDS, '400: {"message":"Token id 9 is out of vocabulary","type":"BadRequestError"}',
         "vocabulary is smaller"),
        (IDS, '400: {"message":"temperature must be strictly positive"}',
         "--omit-field temperature"),
        (CHAT, '400: {"message":"temperature: Input should be greater than 0"}',
         "--omit-field temperature"),
        (CHAT, '{"message":"no api key passed in","code":"401"}', "MOESERVE_API_KEY"),
        (CHAT, '{"message":"slow down","code":429}', "limits how much"),
    ],
)  # fmt: skip
def test_a_servers_own_words_lead_to_their_way_out(
    options: EndpointOptions, words: str, way_out: str
) -> None:
    kind = "HTTP_4XX" if words[:3].isdigit() else "STREAM_ERROR"
    assert way_out in advice(kind, words, options)


@pytest.mark.parametrize(
    ("error_class", "words", "way_out"),
    [
        ("HTTP_3XX", "307: redirects to https://h/, which is not followed", "give the address"),
        ("BAD_CONTENT", "content coding 'gzip' was not asked for", "gzip off"),
        (
            "BAD_CONTENT",
            '200 with content type none: {"id":1}',
            "needs an event stream",
        ),
        ("BAD_CONTENT", '200 with content type application/json: {"error":{"code":429}}', "limits"),
        ("BAD_HTTP", "transfer coding 'gzip, chunked'", "gzip off"),
        ("TIMEOUT", "nothing for 600.1 s", "--stall-timeout"),
        ("TOO_LARGE", "far more than the 4 tokens asked for", "max_tokens"),
        ("TOKEN_COUNT_MISMATCH", "5 tokens seen, usage says 4", "each event with text"),
        ("HTTP_4XX", "403: <!DOCTYPE html><html><title>Just a moment...</title>", "a page"),
        ("HTTP_4XX", '402: {"error":{"message":"Insufficient credits"}}', "credit"),
        ("HTTP_5XX", '529: {"error":{"message":"overloaded_error"}}', "idle"),
        ("USAGE_MISSING", "1 tokens seen of 4 asked for", "one token an event"),
    ],
)
def test_an_answer_of_another_form_has_a_way_out(
    error_class: str, words: str, way_out: str
) -> None:
    assert way_out in advice(error_class, words, IDS)


def test_counts_that_disagree_in_a_chat_may_be_thoughts_not_shown() -> None:
    words = "0 tokens seen, usage says 4"
    assert "enable_thinking" in advice("TOKEN_COUNT_MISMATCH", words, CHAT)
    assert advice("TOKEN_COUNT_MISMATCH", words, IDS) == ""


@pytest.mark.parametrize(
    "words",
    [
        f'400: {{"message":"maximum context length is 8 tokens, max_tokens is too large",{KIND}}}',
        f'400: {{"message":"the prompt is empty",{KIND}}}',
        f'400: {{"message":"max_tokens is invalid",{KIND}}}',
        "500: Internal Server Error",
    ],
)
def test_a_refusal_of_another_cause_gets_no_wrong_way_out(words: str) -> None:
    assert advice("HTTP_4XX", words, IDS) == ""


def test_a_length_that_is_too_large_is_not_left_out() -> None:
    words = '400: {"message":"max_tokens must be less than 8192"}'
    assert advice("HTTP_4XX", words, CHAT) == ""


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported parameter: 'max_tokens' is not supported, use 'max_completion_tokens' instead",
        "Only one of 'max_tokens' and 'max_completion_tokens' may be set",
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported",
    ],
)
def test_of_two_lengths_that_clash_one_is_left_out(said: str) -> None:
    told = advice("HTTP_4XX", f'400: {{"message":"{said}",{KIND}}}', CHAT)
    assert told.endswith("leave out with --omit-field max_tokens")
