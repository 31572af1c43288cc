"""Messages are what a user sees of an error: one line with the way out."""

import pytest

from catalog import errors
from catalog.units import DTYPE_BYTES, GB, GIB, gib


def test_exit_codes_are_the_documented_ones() -> None:
    documented: dict[type[errors.MoeserveError], int] = {
        errors.InputError: 2,
        errors.BadValue: 2,
        errors.UnknownName: 2,
        errors.BadFile: 2,
        errors.ChangedExperiment: 2,
        errors.MissingExtra: 2,
        errors.ResultsError: 2,
        errors.RunFailed: 3,
        errors.ServerDied: 3,
        errors.EndpointError: 3,
        errors.ClusterError: 3,
        errors.Infeasible: 4,
    }
    assert {kind: kind.exit_code for kind in documented} == documented


def test_a_bad_value_says_where_what_was_given_and_what_is_allowed() -> None:
    error = errors.BadValue("--concurrency", "0..8", "1 or more", where="exp.yaml")
    assert str(error) == "exp.yaml: --concurrency: got '0..8', allowed: 1 or more"


def test_a_name_close_to_nothing_gets_the_list_and_no_guess() -> None:
    error = errors.UnknownName("strategy", "zzz", ["tp", "ep"], hint="See the docs.")
    assert str(error) == "unknown strategy 'zzz'. Allowed: ep, tp. See the docs."


def test_a_long_list_of_names_is_cut() -> None:
    message = str(errors.UnknownName("model", "?", [f"m{n:02}" for n in range(100)]))
    assert message.endswith("m23, ….")


def test_a_message_that_quotes_without_end_is_cut_whoever_raises_it() -> None:
    long = 1_000_000 * "9"
    for error in (
        errors.BadFile("exp.yaml", long),
        errors.UnknownName("model", "x", ["m"], hint=long),
        errors.NotCounted("config.json", (long,), long),
        errors.ServerDied(long),
        errors.ResultsError(long),
    ):
        assert len(str(error)) == errors.LONGEST_MESSAGE + 1
        assert str(error).endswith("9…")


@pytest.mark.parametrize(("given", "close"), [("TP+EPP", ["tp+ep"]), ("", [])])
def test_close_names_are_found_in_any_case(given: str, close: list[str]) -> None:
    assert errors.closest(given, ["tp+ep", "single"]) == close


def test_a_failed_server_keeps_the_tail_of_its_log() -> None:
    error = errors.ServerStartFailed("vllm ended", stage="loading", log_tail="CUDA error")
    assert (error.stage, error.log_tail) == ("loading", "CUDA error")


def test_a_gibibyte_is_not_a_gigabyte() -> None:
    assert gib(80 * GIB) == "80.0 GiB"
    assert gib(80 * GB) == "74.5 GiB"


def test_mxfp4_takes_a_scale_byte_for_every_32_values() -> None:
    assert DTYPE_BYTES["mxfp4"] == (32 * 0.5 + 1) / 32
