"""The columns of a run's requests: of all of them, and of those that are chosen."""

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workloads.transcript import RequestRow, Transcript

times = st.lists(st.floats(0, 1e3), max_size=4)
rows_drawn = st.lists(
    st.builds(
        lambda sent, of, status: RequestRow(
            request=0, due_s=1.0, sent_s=sent, status=status, token_times_s=np.array(of, np.float64)
        ),
        st.none() | st.floats(0, 1e3),
        times,
        st.sampled_from(["ok", "failed"]),
    ),
    max_size=6,
)


@given(rows_drawn)
def test_those_that_completed_are_the_columns_of_their_rows(rows: list[RequestRow]) -> None:
    found = Transcript.of(rows).completed
    wanted = Transcript.of(row for row in rows if row.status == "ok")
    for each in fields(Transcript):
        np.testing.assert_array_equal(getattr(found, each.name), getattr(wanted, each.name))


@given(rows_drawn)
def test_gaps_and_last_tokens_are_those_of_each_request_alone(rows: list[RequestRow]) -> None:
    run = Transcript.of(rows)
    alone = [np.diff(row.token_times_s) for row in rows]
    np.testing.assert_array_equal(run.gaps_s, np.concatenate([np.empty(0), *alone]))
    last = [row.token_times_s[-1] if len(row.token_times_s) else np.nan for row in rows]
    np.testing.assert_array_equal(run.last_token_s, np.array(last, np.float64))
