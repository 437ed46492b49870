"""Scenarios: read whole or refused with the field's name; means that weigh what they should."""

from pathlib import Path

import pytest

from tapeout.errors import InputError
from tapeout.search.scenario import Scenario, Traffic, load_scenario, parse_scenario

GOOD = """
tpot_ms = 15.0
ttft_ms = 800
serving = "disaggregated"
batches = [1, 32]
contexts = [2048]
[[traffic]]
prompt_tokens = 1000
output_tokens = 100
share = 3.0
[[traffic]]
prompt_tokens = 9000
output_tokens = 500
cached_share = 0.5
"""


def test_reads(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD)
    s = load_scenario(path)
    assert (s.tpot_ms, s.ttft_ms, s.serving, s.batches) == (15.0, 800.0, "disaggregated", (1, 32))
    assert s.prompt_tokens == pytest.approx((3 * 1000 + 9000) / 4)
    assert s.output_tokens == pytest.approx((3 * 100 + 500) / 4)
    assert s.cached_tokens == pytest.approx(4500 / 4)
    assert s.fresh_tokens == pytest.approx(s.prompt_tokens - s.cached_tokens)
    # Over output tokens: 300 of them at 1,050 on the mean, 500 at 9,250.
    assert s.decode_context == pytest.approx((300 * 1050 + 500 * 9250) / 800)
    assert s.longest == 9500


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("tpot_ms = -1", "tpot_ms"),
        ("tpot_ms = nan", "tpot_ms"),
        ('ttft_ms = "fast"', "ttft_ms"),
        ('serving = "both"', "serving"),
        ("batch = 0", "batch"),
        ("batch = 1.5", "batch"),
        ("batches = []", "batches"),
        ("batches = [true]", "batches[0]"),
        ("contexts = [1, 10000000000000]", "contexts[1]"),
        ("traffic = [1]", "traffic[0]"),
        ("[[traffic]]\nprompt_tokens = 5", "traffic[0].output_tokens"),
        ("[[traffic]]\nprompt_tokens = 5\noutput_tokens = 5\nshare = 0", "traffic[0].share"),
        ("[[traffic]]\nprompt_tokens = 5\noutput_tokens = 5\ncached_share = 1", "traffic[0].cached_share"),
        ("tpot = 4", "tpot"),
        ("= 4", ""),
    ],
)
def test_refuses(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(InputError) as told:
        load_scenario(path)
    assert told.value.field == field and str(path) in str(told.value) and "\n" not in str(told.value)


def test_absent_fields_keep_their_defaults() -> None:
    assert parse_scenario({}, "x") == Scenario()


@pytest.mark.parametrize("context", [1, 2, 1000, 8192, 131072])
def test_context_is_the_mean_while_decoding(context: int) -> None:
    s = Scenario().with_context(context)
    assert s.decode_context == pytest.approx(context, abs=1.5)
    assert all(t.prompt_tokens >= 1 and t.output_tokens >= 1 for t in s.traffic)


def test_describe_names_the_limits() -> None:
    assert "TPOT ≤ 20 ms" in Scenario().describe()
    assert "no latency limit" in Scenario(tpot_ms=None, ttft_ms=None, traffic=(Traffic(1, 1),)).describe()
