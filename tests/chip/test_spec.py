"""ChipSpec: TOML round trips exactly, every bad field is named, arrays of designs hold what specs hold."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip import ChipSpec, available, from_toml, load, to_toml, validate
from tapeout.chip.designs import Designs, format_mask
from tapeout.chip.spec import (
    MATRIX_FORMATS,
    MEMORY_KINDS,
    NODES,
    Core,
    Links,
    MatrixEngine,
    Memory,
    Scratchpad,
)
from tapeout.chip.toml import from_table, to_table
from tapeout.errors import InputError

powers = st.integers(2, 8).map(lambda n: 2**n)
ENGINES = st.builds(
    MatrixEngine,
    st.integers(1, 1024),
    st.integers(1, 1024),
    st.integers(3, 7).map(lambda n: 2**n),
    st.sets(st.sampled_from(MATRIX_FORMATS), min_size=1)
    .filter(lambda s: s != {"bf16"})
    .map(lambda s: tuple(f for f in MATRIX_FORMATS if f in s)),
    st.booleans(),
)
CORES = st.builds(
    Core,
    ENGINES,
    st.integers(1, 4096),
    st.builds(lambda n, b, w: Scratchpad(n * b * w, b, w), st.integers(1, 4), powers, powers),
    powers,
    st.integers(1, 65536),
)
SPECS = st.builds(
    lambda name, node, clock, cores, core, noc, kind, stacks, gib, up, out, rate, domain, dies: ChipSpec(
        name,
        node,
        clock,
        cores * dies,
        core,
        noc,
        Memory(kind, max(stacks, dies), gib),
        Links(up, out, rate, domain),
        "cowos-l",
        dies,
    ),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,20}", fullmatch=True),
    st.sampled_from(NODES),
    st.floats(0.01, 10.0),
    st.integers(1, 4096),
    CORES,
    st.integers(4, 4096),
    st.sampled_from(MEMORY_KINDS),
    st.integers(1, 64),
    st.integers(1, 1024),
    st.integers(0, 4096),
    st.integers(0, 4096),
    st.sampled_from([112, 224]),
    st.integers(1, 65536),
    st.integers(1, 16),
)


@settings(max_examples=150, deadline=None)
@given(SPECS)
def test_toml_round_trip_is_exact(spec: ChipSpec) -> None:
    text = to_toml(spec)
    assert from_toml(text, "t") == spec
    assert to_toml(from_toml(text, "t")) == text
    assert all("#" in line for line in text.splitlines() if "=" in line)


@settings(max_examples=60, deadline=None)
@given(st.lists(SPECS, min_size=1, max_size=5))
def test_designs_hold_what_specs_hold(specs: list[ChipSpec]) -> None:
    d = Designs.from_specs(specs)
    assert len(d) == len(specs)
    assert [d.spec(i) for i in range(len(d))] == specs
    assert d[::-1].spec(0) == specs[-1]
    assert d[np.array([0, 0])].spec(1) == specs[0]
    assert Designs.concatenate([d, d]).spec(len(d)) == specs[0]
    for f in MATRIX_FORMATS:
        assert d.macs_per_cycle(f).tolist() == [s.core.matrix.macs_per_cycle(f) for s in specs]


def test_designs_broadcast() -> None:
    d = Designs.of(
        load("flagship"), cores=np.array([[8], [16]]), node=np.array(["N5", "N3E"]), formats=["mxfp8"]
    )
    assert len(d) == 4
    assert [(s.cores, s.node) for s in map(d.spec, range(4))] == [
        (8, "N5"),
        (8, "N3E"),
        (16, "N5"),
        (16, "N3E"),
    ]
    assert d.spec(0).core.matrix.formats == ("mxfp8",)
    assert d.formats[0] == format_mask(("mxfp8",))
    with pytest.raises(InputError, match="colour: found an unknown field"):
        Designs.of(colour=3)
    with pytest.raises(InputError, match="node"):
        Designs.of(node="N6")


@pytest.mark.parametrize("name", available())
def test_presets_load_and_round_trip(name: str) -> None:
    spec = load(name)
    assert spec.name == name
    assert from_toml(to_toml(spec), name) == spec
    assert validate(spec) == spec


def test_tiny_is_what_the_rtl_builds() -> None:
    tiny = load("tiny")
    assert (tiny.cores, tiny.core.matrix.rows, tiny.core.matrix.columns, tiny.core.matrix.lanes) == (
        1,
        4,
        4,
        32,
    )
    assert tiny.core.scratchpad.kibibytes == 128


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("clock_ghz", 0, r"clock_ghz: found 0, expected a number from 0\.01 to 10"),
        ("clock_ghz", float("nan"), "clock_ghz"),
        ("clock_ghz", "fast", "clock_ghz: found 'fast'"),
        ("cores", 10**12, "cores: found 1000000000000, expected an integer from 1 to 65536"),
        ("cores", True, "cores: found True"),
        ("cores", 1.5, "cores: found 1.5"),
        ("node", "N6", "node: found 'N6', expected one of N7, N5, N3E, N2"),
        ("name", "../../etc", "name: found"),
        ("name", "a\nb", "name: found"),
        ("core.matrix.lanes", 33, r"core\.matrix\.lanes: found 33, expected a power of two"),
        ("core.matrix.formats", [], r"core\.matrix\.formats"),
        ("core.matrix.formats", ["fp3"], r"core\.matrix\.formats"),
        ("core.matrix.formats", ["mxfp4", "mxfp4"], r"core\.matrix\.formats"),
        ("core.matrix.formats", ["bf16"], r"core\.matrix\.formats"),
        ("core.matrix.formats", [["mxfp4"]], r"core\.matrix\.formats"),
        ("core.matrix.row", 3, r"core\.matrix\.row: found an unknown field"),
        ("core.scratchpad.kibibytes", 1, r"core\.scratchpad\.kibibytes: found 1 KiB in 16 banks"),
        ("core.scratchpad.kibibytes", 1025, r"whole words in each of 16 banks"),
        ("core", 3, "core: found 3, expected a table"),
        ("dies", 7, r"cores: found 1518, expected a multiple of dies \(7\)"),
        ("package", "organic", "hbm3e needs an interposer"),
        ("memory.stacks", -1, r"memory\.stacks: found -1"),
        ("links.gigabits_per_lane", 150, r"links\.gigabits_per_lane: found 150, expected 112 or 224"),
    ],
)
def test_bad_field_is_named(path: str, value: object, said: str) -> None:
    table = to_table(load("flagship"))
    at = table
    *folders, last = path.split(".")
    for folder in folders:
        at = at[folder]
    at[last] = value
    with pytest.raises(InputError, match=said) as e:
        from_table(table, "chip.toml")
    assert "\n" not in str(e.value) and str(e.value).startswith("chip.toml: ")


def test_more_dies_than_stacks() -> None:
    spec = load("flagship")
    with pytest.raises(InputError, match="at least one for each of the 11 dies"):
        validate(replace(spec, dies=11))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=4), x, max_size=2),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [*to_table(ChipSpec()), *to_table(Core()), *to_table(MatrixEngine()), "rows", "kind", "stacks", ""]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=4), max_size=5))
def test_any_table_is_a_legal_chip_or_one_line(table: dict[str, object]) -> None:
    try:
        spec = from_table(table, "chip.toml")
    except InputError as e:
        assert "\n" not in str(e)
    else:
        assert validate(spec) == spec


@settings(max_examples=200, deadline=None)
@given(st.text(string.printable, max_size=80) | st.just("x = " + "9" * 5000) | st.just("x = " + "[" * 4000))
def test_any_text(text: str) -> None:
    try:
        from_toml(text, "chip.toml")
    except InputError as e:
        assert "\n" not in str(e)


@pytest.mark.parametrize("source", ["nothing", "no/such.toml", "", "a" * 5000, "x\0y", "/"])
def test_what_is_no_chip(source: str) -> None:
    with pytest.raises(InputError) as e:
        load(source)
    assert "\n" not in str(e.value)


def test_load_from_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text(to_toml(load("edge")))
    assert load(tmp_path) == load(tmp_path / "chip.toml") == load("edge")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("cores = " + "9" * 5000)
    with pytest.raises(InputError, match="valid TOML"):
        load(tmp_path / "bad.toml")
