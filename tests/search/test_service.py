"""Steady service: time, tokens and joules are conserved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.search.scenario import Scenario, Traffic
from tapeout.search.service import serve

POSITIVE = st.floats(1e-6, 1e3)


@given(
    st.integers(1, 4096), st.integers(1, 64), st.integers(1, 16), POSITIVE, POSITIVE, POSITIVE, POSITIVE,
    st.integers(1, 64), st.integers(1, 5000),
)  # fmt: skip
def test_conservation(
    batch: int, chips: int, passes: int, ds: float, dj: float, ps: float, pj: float, prompts: int, out: int
) -> None:
    scenario = Scenario(traffic=(Traffic(1000, out),))
    s = serve(
        scenario, batch=batch, chips=chips, passes=passes, decode_s=ds, decode_j=dj, prefill_s=ps, prefill_j=pj,
        prompts=prompts,
    )  # fmt: skip
    # A request costs its prompt and `out` tokens' part of decoding steps, in chip-seconds and in joules.
    chip_seconds = chips * (ps / prompts + out * ds / batch)
    joules = chips * (pj / prompts + out * dj / batch)
    assert out / float(s.tokens_per_s) == pytest.approx(chip_seconds)
    assert out * float(s.joules_per_token) == pytest.approx(joules)
    # Power × time = energy: tokens/s/chip × joules/token = watts of a chip.
    assert float(s.tokens_per_s * s.joules_per_token) == pytest.approx(float(s.watts))
    # Users of a stage see its tokens: batch × passes sequences, each one token in every TPOT.
    assert batch * passes / float(s.tpot_s) == pytest.approx(float(s.tokens_per_s) * chips)
    assert 0 <= float(s.decode_share) <= 1


def test_disaggregation_changes_delay_not_cost() -> None:
    args = dict(
        batch=64, chips=4, passes=1, decode_s=0.01, decode_j=5.0, prefill_s=0.1, prefill_j=60.0, prompts=1
    )
    together, apart = (serve(Scenario(serving=s), **args) for s in ("interleaved", "disaggregated"))  # type: ignore[arg-type]
    assert together.tokens_per_s == apart.tokens_per_s
    assert together.joules_per_token == apart.joules_per_token
    assert apart.tpot_s < together.tpot_s and apart.ttft_s < together.ttft_s


def test_meets_is_about_both_limits() -> None:
    s = serve(
        Scenario(traffic=(Traffic(1000, 1000),)), batch=np.array([1, 1000]), chips=1, passes=1,
        decode_s=np.array([0.005, 0.03]), decode_j=1.0, prefill_s=0.01, prefill_j=1.0,
    )  # fmt: skip
    assert s.meets(Scenario()).tolist() == [True, False]
    assert s.meets(Scenario(ttft_ms=1.0)).tolist() == [False, False]
    assert s.meets(Scenario(tpot_ms=None, ttft_ms=None)).tolist() == [True, True]
