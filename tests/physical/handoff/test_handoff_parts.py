"""The parts of a package: constraint files and their reader, netlist reading, staging, vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip import load
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.registry import instructions
from tapeout.errors import InputError
from tapeout.physical.handoff.intent import sdc, upf
from tapeout.physical.handoff.manifest import differences, manifest, read_manifest
from tapeout.physical.handoff.netlist import counts, instances, memories, missing, modules, ports
from tapeout.physical.handoff.staging import write_folder
from tapeout.physical.handoff.syntax import commands, sdc_problems, upf_problems
from tapeout.physical.handoff.testbench import hexadecimal
from tapeout.physical.handoff.vectors import vectors, wanted

PORTS = {"clk": ("input", 1), "rst": ("input", 1), "axi_a": ("output", 48), "s_b": ("input", 1),
         "irq": ("output", 1)}  # fmt: skip
VERILOG = """module leaf(a, clk, q);
  input a;
  wire a;
  input clk;
  output [7:0] q;
  reg [63:0] words [15:0];
  sram_1rw #(
    .DEPTH(32'd512),
    .GRANULE(32'd72),
    .WIDTH(32'd288)
  ) sram (
    .clk(clk)
  );
endmodule

module core(clk);
  input clk;
  leaf one (
    .clk(clk)
  );
  leaf \\two$3  (
    .clk(clk)
  );
endmodule
"""


def test_netlist_is_read() -> None:
    found = modules(VERILOG)
    assert list(found) == ["leaf", "core"]
    assert ports(found["leaf"]) == {"a": ("input", 1), "clk": ("input", 1), "q": ("output", 8)}
    assert [i.name for i in instances(found["core"])] == ["one", "two$3"]
    assert missing(found, "core") == ["sram_1rw"]
    assert counts(found, "core") == {"core": 1, "leaf": 2}
    macro, array = memories(found, "core")
    assert (macro.kind, macro.words, macro.bits, macro.granule, macro.instances) == (
        "macro",
        512,
        288,
        72,
        2,
    )
    assert (array.kind, array.words, array.bits, array.instances) == ("array", 16, 64, 2)


def test_sdc_is_whole_and_broken_ones_are_told() -> None:
    text = sdc(load("tiny"), PORTS)
    assert sdc_problems(text, PORTS) == []
    assert any("no port irq2" in p for p in sdc_problems(text.replace("irq", "irq2"), PORTS))
    assert any("more" in p for p in sdc_problems(text, {**PORTS, "more": ("input", 1)}))
    assert sdc_problems(text.replace("create_clock", "create_clocc"), PORTS)
    assert sdc_problems(text[:-2] + "{", PORTS)
    assert any("no number" in p for p in sdc_problems(text.replace("-period 1.0000", "-period x"), PORTS))


def test_upf_is_whole_and_broken_ones_are_told() -> None:
    core = VERILOG.replace("leaf one", "leaf pad").replace("leaf \\two$3 ", "leaf host")
    core = modules(core.replace("endmodule\n", "", 0))["core"].replace(
        "endmodule", "  leaf load (\n    .clk(clk)\n  );\nendmodule"
    )
    placed = [i.name for i in instances(core)]
    assert placed == ["pad", "host", "load"]
    text = upf(load("tiny"), core)
    assert upf_problems(text, placed) == []
    assert any("no instance load" in p for p in upf_problems(text, ["pad", "host"]))
    assert any("no domain" in p for p in upf_problems(text.replace("-domain PD_PAD", "-domain PD_X"), placed))
    assert upf_problems(text.replace("set_isolation", "set_isolatoin"), placed)
    assert upf_problems(text + "}", placed)


@given(
    st.lists(
        st.lists(st.text("abc_-01", min_size=1, max_size=5), min_size=1, max_size=4), min_size=1, max_size=5
    )
)
def test_commands_are_split_into_words(lines: list[list[str]]) -> None:
    assert commands("\n".join(" ".join(words) for words in lines)) == lines


def test_every_instruction_and_choice_is_in_a_vector() -> None:
    names = frozenset(instructions())
    for chip in ("tiny", "edge"):
        made = vectors(Geometry.of(load(chip).core), names)
        assert wanted(names) <= set().union(*(v.shows for v in made)), chip
        assert len({v.name for v in made}) == len(made)
        for v in made:
            assert v.cause or not np.array_equal(v.before, v.after), v.name


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from((1, 8, 64, 512)), st.booleans())
def test_vectors_of_any_core_execute(rows: int, columns: int, kibibytes: int, double: bool) -> None:
    spec = load("tiny")
    matrix = replace(spec.core.matrix, rows=rows, columns=columns, double_rate_fp4=double)
    pad = replace(spec.core.scratchpad, kibibytes=kibibytes, banks=2, word_bytes=32)
    made = vectors(Geometry.of(replace(spec.core, matrix=matrix, scratchpad=pad)), frozenset(instructions()))
    assert {"scalar", "copy", "unknown"} <= {v.name for v in made}


def test_hex_is_what_readmemh_reads() -> None:
    memory = np.zeros(256, np.uint8)
    memory[32:50] = range(1, 19)
    memory[255] = 7
    lines = hexadecimal(memory).splitlines()
    assert lines[0] == "@20" and lines[1].startswith("01 02") and lines[3] == "@f0"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "p"
    write_folder(target, {"manifest.json": "{}", "a/b.txt": "1"})
    before = sorted(p.name for p in tmp_path.iterdir())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr("os.rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_folder(target, {"manifest.json": "{}", "a/b.txt": "2"})
    assert (target / "a/b.txt").read_text() == "1"
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    write_folder(target, {"manifest.json": "{}", "c.txt": "2"})
    assert sorted(p.name for p in target.iterdir()) == ["c.txt", "manifest.json"]


def test_a_folder_with_other_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(InputError):
        write_folder(tmp_path / "mine", {"manifest.json": "{}"})
    assert (tmp_path / "mine/thesis.txt").exists()


def test_the_manifest_names_every_difference(tmp_path: Path) -> None:
    files = {"a.txt": "1", "d/b.bin": b"\0"}
    write_folder(tmp_path / "p", {**files, "manifest.json": manifest("c", "core", files)})
    found = read_manifest(tmp_path / "p")
    assert differences(tmp_path / "p", found["files"]) == []
    (tmp_path / "p/a.txt").write_text("2")
    (tmp_path / "p/d/b.bin").unlink()
    (tmp_path / "p/new").write_text("")
    assert differences(tmp_path / "p", found["files"]) == [
        "a.txt: differs from the manifest",
        "d/b.bin: missing",
        "new: not in the manifest",
    ]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\\\b"])
def test_a_manifest_stays_within_the_package(name: str, tmp_path: Path) -> None:
    entry = f'"files": {{"{name}": {{"sha256": ""}}}}'
    (tmp_path / "manifest.json").write_text(manifest("c", "core", {}).replace('"files": {}', entry))
    with pytest.raises(InputError):
        read_manifest(tmp_path)
