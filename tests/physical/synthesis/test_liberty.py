"""Liberty files: grammar, meaning, units, and what is wrong with broken ones."""

import gzip
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libraries_for_tests import kit
from small_library import LIBRARY

from tapeout.errors import InputError
from tapeout.physical.synthesis import function, liberty, library, pdk


def written(tmp_path: Path, text: str | bytes, name: str = "small.lib") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_groups_and_attributes() -> None:
    top = liberty.parse(LIBRARY, "small")
    assert top.name == "small" and [c.name for c in top.of("cell")] == ["INV", "INVX2", "NAND2", "DFF"]
    assert top.lists["capacitive_load_unit"] == ("1", "pf")
    inverter = next(top.of("cell"))
    y = next(p for p in inverter.of("pin") if p.name == "Y")
    assert y.simple["function"] == "!A"
    fall = next(next(y.of("timing")).of("cell_fall"))
    assert fall.lists["values"] == ("0.05, 0.15", "0.25, 0.35")


def test_units_and_tables(tmp_path: Path) -> None:
    one = library.load(written(tmp_path, LIBRARY))
    inverter = one.cells["INV"]
    np.testing.assert_allclose([*inverter.pins["A"].capacitance_ff, inverter.leakage_nw], [10, 10, 2])
    arc = inverter.pins["Y"].arcs[0]
    assert arc.edges == ((1, 0), (0, 1))
    np.testing.assert_allclose(arc.delay[0].x, [100, 300])
    np.testing.assert_allclose(arc.delay[0].y, [10, 30])
    np.testing.assert_allclose(arc.delay[0].values, [[100, 200], [300, 400]])
    power = inverter.pins["A"].powers[0]
    np.testing.assert_allclose(power.energy[0].values.ravel(), [1, 3])  # pF V² = pJ; fJ here
    assert one.cells["INVX2"].pins["Y"].arcs[0].edges == ((1, 0), (0, 1))  # sense from the function
    setup = next(a for a in one.cells["DFF"].pins["D"].arcs if a.kind == "setup")
    # the file has the data's slew first; here the clock's comes first
    np.testing.assert_allclose(setup.delay[0].values, [[100, 300], [200, 400]])


def test_gzip_is_the_same(tmp_path: Path) -> None:
    plain = library.load(written(tmp_path, LIBRARY))
    packed = library.load(written(tmp_path, gzip.compress(LIBRARY.encode()), "small.lib.gz"))
    assert packed.digest == plain.digest and packed.cells.keys() == plain.cells.keys()


def test_any_truncation_is_an_error(tmp_path: Path) -> None:
    whole = LIBRARY.rstrip()
    for n in random.Random(1).sample(range(len(whole) - 1), 150):
        with pytest.raises(InputError) as e:
            library.load(written(tmp_path, whole[:n]))
        assert "\n" not in str(e.value)


def test_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    raw = gzip.compress(LIBRARY.encode())
    for n in (3, 20, len(raw) // 2, len(raw) - 1):
        with pytest.raises(InputError):
            library.load(written(tmp_path, raw[:n], "x.lib.gz"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("ff (IQ, IQN)", "fg (IQ, IQN)"), "no flip-flop"),
        (('values ("0.10, 0.20", "0.30, 0.40")', 'values ("0.10, 0.20", "0.30")'), "3 values"),
        (('values ("0.10, 0.20"', 'values ("0.10, fast"'), "numbers"),
        (
            ('index_1 ("0.1, 0.3"); index_2 ("0.01, 0.03")', 'index_1 ("0.3, 0.1"); index_2 ("0.01, 0.03")'),
            "increas",
        ),
        (('function : "!A"', 'function : "!(A"'), "parenthesis"),
        (("area : 1;", "area : large;"), "large"),
        (("nom_voltage : 1.0", "nom_voltage : high"), "nom_voltage"),
        (('function : "!A";', 'function : "!A"; max_capacitance : big;'), "max_capacitance"),
        (('time_unit : "1ns"', 'time_unit : "1 parsec"'), "time_unit"),
        (("capacitive_load_unit (1, pf)", "capacitive_load_unit (one, pf)"), "capacitive_load_unit"),
        (('rise_transition (d) { values ("0.1, 0.2", "0.1, 0.2"); }', ""), "rise_transition"),
        (("library (small) {", "libary (small) {"), "library"),
    ],
)
def test_broken_libraries_say_where(tmp_path: Path, change: tuple[str, str], field: str) -> None:
    text = LIBRARY.replace(*change, 1)
    assert text != LIBRARY
    with pytest.raises(InputError) as e:
        library.load(written(tmp_path, text))
    assert field in str(e.value) and "\n" not in str(e.value)


@given(st.binary(max_size=300))
def test_rubbish_is_an_input_error(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "rubbish.lib"
    path.write_bytes(rubbish)
    with pytest.raises(InputError):
        library.load(path)


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("!A", "not A"), ("A'", "not A"), ("A * B + C", "(A and B) or C"), ("A B + !C", "(A and B) or not C"),
        ("(A + B)' ^ C", "(not (A or B)) != C"),
        ("A ^ B * C", "(A != B) and C"), ("!A & (B | C)", "not A and (B or C)"),
        ("A + 1", "True"), ("((A))", "A"),
    ],
)  # fmt: skip
def test_functions(text: str, python: str) -> None:
    one = function.parse(text)
    for a, b, c in product((False, True), repeat=3):
        got = one.evaluate({n: -int(v) for n, v in zip("ABC", (a, b, c), strict=True)}) & 1
        assert got == int(eval(python, {"A": a, "B": b, "C": c})), (text, a, b, c)


def test_senses() -> None:
    assert function.parse("!(A & B)").sense("A") == "negative_unate"
    assert function.parse("A & !B").sense("A") == "positive_unate"
    assert function.parse("A ^ B").sense("A") == "non_unate"


def test_an_absent_library_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(pdk.VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(InputError, match="OpenROAD-flow-scripts"):
        pdk.find("asap7")
    with pytest.raises(InputError, match="asap7"):
        pdk.find("tsmc")


@pytest.mark.parametrize("name", ["asap7", "gt2n", "sky130"])
def test_public_libraries(name: str) -> None:
    one = kit(name).library
    assert sum(c.flip_flop for c in one.cells.values()) >= 3
    for cell in one.cells.values():
        for pin in cell.outputs:
            assert pin.function or cell.state or not pin.arcs or "e" in cell.name
            for arc in pin.arcs:
                for table in (*arc.delay.values(), *arc.slew.values()):
                    assert (
                        table.values.shape == (len(table.x), len(table.y)) and np.isfinite(table.values).all()
                    )
