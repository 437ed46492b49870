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


def cleared(pad: Scratchpad) -> Simulation:
    """After reset, when it may be used."""
    sim = simulate(pad)
    sim.step(pad.depth)
    assert not sim.peek("clearing")
    return sim


def send(sim: Simulation, port: int, requests: list[int]) -> np.ndarray:
    return pack(requests, sim.ports[f"request{port}__payload"][1])


@pytest.mark.parametrize("simulation", [True, False], ids=["simulated", "synthesised"])
def test_every_single_and_double_error(simulation: bool) -> None:
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
    got = simulate(verilog(SecdedDecode(), simulation)).table(
        {"word": np.array(words, object)}, ["fixed", "one_wrong", "two_wrong", "parity"]
    )
    for i, word in enumerate(words):
        data, state = secded.decode(word)
        assert int(got["fixed"][i, 0]) | int(got["fixed"][i, 1]) << 32 == data
        assert (got["one_wrong"][i], got["two_wrong"][i]) == (state == "corrected", state == "wrong")
        assert got["parity"][i] == data.bit_count() % 2
    values = [rng.getrandbits(64) for _ in range(500)]
    check = simulate(verilog(SecdedEncode(), simulation)).table(
        {"word": np.array(values, object)}, ["check"]
    )["check"]
    assert [int(c) for c in check] == [secded.encode(v) >> 64 for v in values]


@pytest.mark.parametrize(("offer", "accept"), [(1.0, 1.0), (0.6, 0.4), (1.0, 0.2)])
def test_ports_with_their_own_rows_equal_a_dictionary(offer: float, accept: float) -> None:
    """Each port works on addresses of its own, in the same banks, so its order alone decides what it reads."""
    rng = random.Random(2)
    sim = cleared(PAD)
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
    for apart in (True, False):
        sim = cleared(PAD)
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
    sim = cleared(PAD)
    value = random.Random(3).getrandbits(128)
    sim.poke("inject", inject)
    sim.run({"request1": send(sim, 1, [request(PAD, 1, 5, True, 3, value)])}, {})
    sim.step(4)
    run = sim.run({"request2": send(sim, 2, [request(PAD, 2, 5)] * 7)}, {"answer2": 7})
    sim.step(4)
    assert unpack(run["answer2"]) == [value if wrong_bits == 1 else value ^ 3] * 7
    assert (sim.peek("corrected"), sim.peek("uncorrectable")) == ((7, 0) if wrong_bits == 1 else (0, 7))


def test_every_word_is_zero_after_reset_and_no_error_is_told() -> None:
    """The memory starts with random bits, so with wrong check bits."""
    sim = cleared(PAD)
    words = range(PAD.banks * PAD.depth)
    run = sim.run({"request1": send(sim, 1, [request(PAD, 1, a) for a in words])}, {"answer1": len(words)})
    sim.step(4)
    assert unpack(run["answer1"]) == [0] * len(words)
    assert sim.peek("corrected") == sim.peek("uncorrectable") == 0


def watch(sim: Simulation, cycles: int, *names: str) -> list[tuple[int, ...]]:
    """Ports in so many cycles."""
    seen = []
    for _ in range(cycles):
        sim.step()
        seen.append(tuple(sim.peek(n) for n in names))
    return seen


@pytest.mark.parametrize("port", [0, 1, 2])
def test_a_write_with_a_wrong_parity_is_told_with_its_place(port: int) -> None:
    """Any one bit of the parity or of the data, in granules that are written; not in others."""
    rng = random.Random(port)
    sim = cleared(PAD)
    words = PAD.ports[port]
    for _ in range(80):
        address = rng.randrange(0, PAD.banks * PAD.depth, words)
        mask, value = rng.getrandbits(2 * words), rng.getrandbits(128 * words)
        right = sum(((value >> 64 * g) & (1 << 64) - 1).bit_count() % 2 << g for g in range(2 * words))
        wrong = rng.choice([0, 1 << rng.randrange(2 * words)])
        for name, v in (
            ("payload", request(PAD, port, address, True, mask, value)),
            ("valid", 1),
        ):
            sim.poke(f"request{port}__{name}", v)
        sim.step()
        sim.poke(f"request{port}__valid", 0)
        sim.poke(f"sent_parity{port}", right ^ wrong)
        sim.step()
        sim.poke(f"sent_parity{port}", 0)
        told = [at for found, at in watch(sim, 6, "mismatch", "at") if found]
        granule = wrong.bit_length() - 1
        assert told == ([address + granule // 2] if wrong & mask else [])


@pytest.mark.parametrize("port", [0, 1, 2])
def test_an_answer_s_parity_is_that_of_its_data(port: int) -> None:
    """With single errors in data and check bits, corrected, and with none; a double error is told with its place."""
    rng = random.Random(port)
    sim = cleared(PAD)
    words = PAD.ports[port]
    for inject in (0, 1, 2):
        sim.poke("inject", inject)
        address, value = rng.randrange(0, PAD.banks * PAD.depth, words), rng.getrandbits(128 * words)
        write = request(PAD, port, address, True, (1 << 2 * words) - 1, value)
        sim.run({f"request{port}": send(sim, port, [write])}, {})
        sim.step(4)
        sim.poke("inject", 0)
        for name, v in (("payload", request(PAD, port, address)), ("valid", 1)):
            sim.poke(f"request{port}__{name}", v)
        sim.step()
        sim.poke(f"request{port}__valid", 0)
        seen = watch(sim, 8, f"answer{port}__valid", f"answer{port}__payload", f"answer_parity{port}")
        data, parity = next((data, parity) for valid, data, parity in seen if valid)
        flips = sum(3 << 128 * w for w in range(words)) if inject == 2 else 0
        assert data == value ^ flips
        granules = [(data >> 64 * g) & (1 << 64) - 1 for g in range(2 * words)]
        assert parity == sum(g.bit_count() % 2 << i for i, g in enumerate(granules))
        sim.reset()
        sim.step(PAD.depth)


def test_lint() -> None:
    for pad in (PAD, Scratchpad(1, 16, 8, (1, 1))):
        assert lint(verilog(pad)) == []
