"""Static timing: paths computed by hand, and a plain definition on random netlists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_library import LIBRARY

from tapeout.errors import DoesNotHold
from tapeout.physical.synthesis import library, netlist, timing
from tapeout.physical.synthesis.library import Library, Table
from tapeout.physical.synthesis.netlist import Flat, Module, Placed
from tapeout.physical.synthesis.paths import Wire


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("lib") / "small.lib"
    path.write_text(LIBRARY)
    return library.load(path)


def flat(
    small: Library, cells: dict[str, list[list[int]]], ins: dict[str, int], outs: dict[str, int]
) -> Flat:
    """Pins in the order of the library; net names are the ports'."""
    pins = {k: np.array(v) for k, v in cells.items()}
    most = max([*ins.values(), *outs.values(), *(int(p.max()) for p in pins.values())]) + 1
    one = Module("m", {n: (v,) for n, v in ins.items()}, {n: (v,) for n, v in outs.items()}, pins, [],
                 {**{v: k for k, v in outs.items()}, **{v: k for k, v in ins.items()}}, most)  # fmt: skip
    return netlist.flatten({"m": one}, "m", small)


def test_by_hand(small: Library) -> None:
    """ck → DFF → INV → INV → DFF. Nets: 2 ck, 3 q, 4, 5 d, 6 q2, 7 first data."""
    one = flat(small, {"DFF": [[2, 7, 3], [2, 5, 6]], "INV": [[3, 4], [4, 5]]}, {"ck": 2, "in": 7}, {"q2": 6})
    got = timing.analyse(one, clock_slew_ps=100)
    # Q: rise 500, fall 600, slews 100. First INV at load 10 fF: A slew 100 → rise 100, fall 50; slew 100.
    # Second INV loads a flip-flop (10 fF): the same again. Setup of a rising D at slew 100: 100; falling: 50.
    path = got.worst()
    assert path and path.end == "q2"
    rising = 600 + 100 + 50  # Q falls, then rises, then D falls
    falling = 500 + 50 + 100  # Q rises, D rises
    assert path.period_ps == pytest.approx(max(rising + 50, falling + 100))
    assert got.hold_slack_ps() == pytest.approx(min(rising - 10, falling - 20))
    loaded = timing.analyse(one, Wire(5.0), clock_slew_ps=100)
    # load 15 fF: INV delays +25, slews 125, which adds 25 to the second's delay (1 ps per ps)
    assert loaded.worst().period_ps == pytest.approx(750 + 25 + 25 + 25 + 50)  # type: ignore[union-attr]


def test_extrapolation_and_constants(small: Library) -> None:
    """Beyond the tables the last segment goes on; a constant starts no path."""
    one = flat(small, {"INV": [[2, 3]], "NAND2": [[1, 2, 4]]}, {"a": 2}, {"y": 3, "z": 4})
    got = timing.analyse(one, input_slew_ps=500, output_ff=50)
    path = got.worst("input-output")
    assert path and path.end == "y" and path.arrival_ps == pytest.approx(100 + 400 * 1 + 40 * 5)


def test_a_loop_is_named(small: Library) -> None:
    one = flat(small, {"INV": [[2, 3], [3, 2]]}, {}, {"y": 3})
    with pytest.raises(DoesNotHold, match="loop"):
        timing.analyse(one)


def test_flattening_joins_what_a_module_joins(small: Library) -> None:
    """A module whose output is its input, and one with a constant output."""
    through = Module("t", {"a": (2,)}, {"y": (2,), "one": (1,)}, {}, [], {2: "a"}, 3)
    top = Module(
        "m", {"a": (2,)}, {"z": (4,)}, {"INV": np.array([[3, 4]])},
        [Placed("u", "t", {"a": (2,), "y": (3,), "one": (5,)})], {}, 6,
    )  # fmt: skip
    one = netlist.flatten({"m": top, "t": through}, "m", small)
    assert one.pins[0][0, 0] == one.inputs["a"][0]
    path = timing.analyse(one, input_slew_ps=100).worst("input-output")
    assert path and path.start == "a" and path.end == "z"


def plain(one: Flat, clock: float, slew_in: float) -> dict[tuple[int, int], tuple[float, float]]:
    """(net, edge) → (latest arrival, slew), by the definition: one node at a time, recursively."""

    def look(t: Table, x: float, y: float) -> float:
        def axis(a: np.ndarray, v: float) -> tuple[int, int, float]:
            if len(a) == 1:
                return 0, 0, 0.0
            i = min(max(int(np.searchsorted(a, v, "right")) - 1, 0), len(a) - 2)
            return i, i + 1, (v - a[i]) / (a[i + 1] - a[i])

        (i, i1, u), (j, j1, v) = axis(t.x, x), axis(t.y, y)
        z = t.values
        return float((1 - u) * ((1 - v) * z[i, j] + v * z[i, j1]) + u * ((1 - v) * z[i1, j] + v * z[i1, j1]))

    driver, load = {}, {n: 0.0 for n in range(one.nets)}
    for cell, rows in zip(one.types, one.pins, strict=True):
        for row in rows:
            nets = dict(zip(cell.pins, (int(r) for r in row), strict=True))
            for p in cell.inputs:
                load[nets[p.name]] += p.capacitance_ff[0]
            for p in cell.outputs:
                driver[nets[p.name]] = (p, nets)
    ports = {int(n[0]) for n in one.inputs.values()}
    known: dict[tuple[int, int], tuple[float, float]] = {}

    def node(net: int, edge: int) -> tuple[float, float]:
        if (net, edge) not in known:
            found = [(0.0, slew_in)] if net in ports else []
            pin, nets = driver.get(net, (None, {}))
            for arc in pin.arcs if pin else ():
                for i, o in arc.edges:
                    if o == edge and nets[arc.related] > 1:
                        at, slew = (0.0, clock) if arc.kind == "clock" else node(nets[arc.related], i)
                        found.append(
                            (at + look(arc.delay[o], slew, load[net]), look(arc.slew[o], slew, load[net]))
                        )
            known[net, edge] = (
                (max(f[0] for f in found), max(f[1] for f in found)) if found else (-np.inf, 0.0)
            )
        return known[net, edge]

    for net in range(2, one.nets):
        node(net, 0), node(net, 1)
    return known


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_arrays_are_the_plain_definition(small: Library, seed: int) -> None:
    """Random netlists of gates and flip-flops, fanouts of any size."""
    rng = np.random.default_rng(seed)
    cells: dict[str, list[list[int]]] = {"INV": [], "INVX2": [], "NAND2": [], "DFF": []}
    nets = list(range(2, 2 + int(rng.integers(2, 6))))
    inputs = {f"i{n}": n for n in nets}
    late: list[int] = []
    for new in range(nets[-1] + 1, nets[-1] + 1 + int(rng.integers(5, 80))):
        kind = str(rng.choice(list(cells), p=[0.3, 0.2, 0.35, 0.15]))
        a, b = (int(x) for x in rng.choice(nets[-12:], 2))
        cells[kind].append({"NAND2": [a, b, new], "DFF": [2, a, new]}.get(kind, [a, new]))
        nets.append(new)
        late.append(new)
    one = flat(small, {k: v for k, v in cells.items() if v}, inputs, {"y": late[-1], "x": late[0]})
    got = timing.analyse(one, clock_slew_ps=70, input_slew_ps=130)
    for (net, edge), (arrival, slew) in plain(one, 70, 130).items():
        assert got.arrival[2 * net + edge] == pytest.approx(arrival, rel=1e-12)
        assert got.slew[2 * net + edge] == pytest.approx(max(slew, 0), rel=1e-12)
