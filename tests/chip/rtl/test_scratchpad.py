"""The scratchpad against a dictionary, under random pressure; SECDED against its twin, exhaustively."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from tapeout.chip.rtl import secded
from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.scratchpad import READ_LATENCY, Scratchpad
from tapeout.chip.rtl.secded import SecdedDecode, SecdedEncode
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import Simulation, pack, simulate, unpack

pytestmark = pytest.mark.verilator
PAD = Scratchpad(4, 16, 16, (2, 1, 1))


def request(
    pad: Scratchpad, port: int, address: int, write: bool = False, mask: int = 0, value: int = 0
) -> int:
    layout = pad.kinds[port].request(pad.banks * pad.depth, pad.word_bytes)
    return int(
        layout.const({"address": address, "write": write, "mask": mask, "data": value}).as_value().value
    )


def send(sim: Simulation, port: int, requests: list[int]) -> np.ndarray:
    return pack(requests, sim.ports[f"request{port}__payload"][1])


def test_every_single_and_double_error() -> None:
    rng = random.Random(1)
    assert len(set(secded.columns())) == 64
    words = []
    for flips in [(), *combinations(range(72), 1), *combinations(range(72), 2)]:
        word = secded.encode(rng.getrandbits(64))
        words.append(word ^ sum(1 << f for f in flips))
        data, state = secded.decode(words[-1])
        assert state == ("ok", "corrected", "wrong")[len(flips)]
        if len(flips) < 2:
            assert secded.encode(data) == word
    got = simulate(SecdedDecode()).table(
        {"word": np.array(words, object)}, ["fixed", "one_wrong", "two_wrong"]
    )
    for i, word in enumerate(words):
        data, state = secded.decode(word)
        assert int(got["fixed"][i, 0]) | int(got["fixed"][i, 1]) << 32 == data
        assert (got["one_wrong"][i], got["two_wrong"][i]) == (state == "corrected", state == "wrong")
    values = [rng.getrandbits(64) for _ in range(500)]
    check = simulate(SecdedEncode()).table({"word": np.array(values, object)}, ["check"])["check"]
    assert [int(c) for c in check] == [secded.encode(v) >> 64 for v in values]


@pytest.mark.parametrize(("offer", "accept"), [(1.0, 1.0), (0.6, 0.4)])
def test_ports_with_their_own_rows_equal_a_dictionary(offer: float, accept: float) -> None:
    """Each port works on addresses of its own, in the same banks, so its order alone decides what it reads."""
    rng = random.Random(2)
    sim = simulate(PAD)
    sent, answers = {}, {}
    for port, words in enumerate(PAD.ports):
        memory: dict[int, int] = {}
        mine = range(port * 20, port * 20 + 20, words)
        ops = [request(PAD, port, a, True, (1 << 2 * words) - 1, 0) for a in mine]
        memory |= dict.fromkeys(mine, 0)
        expected = []
        for _ in range(600):
            a = rng.choice(mine)
            if rng.random() < 0.5:
                mask, value = rng.getrandbits(2 * words), rng.getrandbits(128 * words)
                keep = sum(((1 << 64) - 1) << 64 * g for g in range(2 * words) if not mask >> g & 1)
                memory[a] = (memory[a] & keep) | (value & ~keep)
                ops.append(request(PAD, port, a, True, mask, value))
            else:
                expected.append(memory[a])
                ops.append(request(PAD, port, a))
        sent[f"request{port}"] = send(sim, port, ops)
        answers[f"answer{port}"] = expected
    run = sim.run(sent, {k: len(v) for k, v in answers.items()}, offer=offer, accept=accept, seed=3)
    for name, expected in answers.items():
        assert unpack(run[name]) == expected
    assert sim.peek("corrected") == sim.peek("uncorrectable") == 0


def test_latency_and_bandwidth() -> None:
    """Ports on different banks each move a word a cycle; on the same bank they share it fairly."""
    sim = simulate(PAD)
    for apart in (True, False):
        sim.reset()
        n = 200
        reads = {
            "request1": send(sim, 1, [request(PAD, 1, 0)] * n),
            "request2": send(sim, 2, [request(PAD, 2, 1 if apart else 4)] * n),
        }
        run = sim.run(reads, {"answer1": n, "answer2": n})
        assert run.stamps["answer1"][0] - run.stamps["request1"][0] == READ_LATENCY
        cycles = run.cycles - READ_LATENCY
        assert abs(cycles - (n if apart else 2 * n)) <= 2
        if not apart:
            assert abs(int(run.stamps["answer1"][-1] - run.stamps["answer2"][-1])) <= 4


@pytest.mark.parametrize(("inject", "wrong_bits"), [(1, 1), (2, 2)])
def test_injected_errors_are_corrected_or_counted(inject: int, wrong_bits: int) -> None:
    sim = simulate(PAD)
    value = random.Random(3).getrandbits(128)
    sim.poke("inject", inject)
    sim.run({"request1": send(sim, 1, [request(PAD, 1, 5, True, 3, value)])}, {})
    sim.step(4)
    run = sim.run({"request2": send(sim, 2, [request(PAD, 2, 5)] * 7)}, {"answer2": 7})
    sim.step(4)
    assert unpack(run["answer2"]) == [value if wrong_bits == 1 else value ^ 3] * 7
    assert (sim.peek("corrected"), sim.peek("uncorrectable")) == ((7, 0) if wrong_bits == 1 else (0, 7))


def test_lint() -> None:
    for pad in (PAD, Scratchpad(1, 16, 8, (1, 1))):
        assert lint(verilog(pad)) == []
