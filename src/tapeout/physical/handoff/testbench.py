"""The testbench that a package carries: plain SystemVerilog, for `verilator --binary` and for Icarus alike.

It reads `vectors/index.txt`, and for each program: memory from `NAME.before.hex`, start through AXI4-Lite, interrupts
served as a host does, memory compared with `NAME.after.hex`. The memory answers after a random latency and stalls every
channel at random; `+seed=N` and `+stall=PERCENT` choose how.
"""

# ruff: noqa: E501 (Verilog)
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapeout.chip.isa.assembler import binary
from tapeout.chip.rtl.host import csr_map
from tapeout.physical.handoff.vectors import Vector, arguments

TEXT = r"""// Testbench of one core: programs of vectors/, memory behind AXI4, a host on AXI4-Lite.
//   $ verilator --binary --timing -Wno-fatal -O3 --top-module tb_core -f filelist.f tb/tb_core.sv && obj_dir/Vtb_core
//   $ iverilog -g2012 -s tb_core -o tb_core.vvp -c filelist.f tb/tb_core.sv && vvp tb_core.vvp
// Options: +vectors=FOLDER +only=NAME +seed=N +stall=PERCENT +latency=CYCLES
module tb_core;
  localparam PORT = @PORT@;         // bytes of the memory port
  localparam SIZE = @SIZE@;         // bytes of memory
  localparam QUEUE = 1024;          // reads in flight that the memory takes
  localparam LIMIT = 200000;        // cycles of one program

  reg clk = 0, rst = 0;             // rst rises after time 0: an edge for what is combinational
  always #1 clk = ~clk;
  reg [31:0] cycle = 0;
  always @(posedge clk) cycle <= cycle + 1;

@WIRES@
  core dut (
@CONNECTIONS@
  );

  // ---- memory -------------------------------------------------------------------------------------------
  reg [7:0] memory [0:SIZE-1];
  reg [7:0] expected [0:SIZE-1];
  reg [63:0] random;
  integer stall = 20, latency = 20, seed = 1;
  wire go0 = random[9:0] % 100 >= stall, go1 = random[25:16] % 100 >= stall, go2 = random[41:32] % 100 >= stall;
  wire go3 = random[57:48] % 100 >= stall, go4 = random[20:11] % 100 >= stall;
  wire [63:0] next0 = random ^ (random << 13);
  wire [63:0] next1 = next0 ^ (next0 >> 7);
  always @(posedge clk) random <= rst ? 64'h9e3779b97f4a7c15 ^ {seed, seed} : next1 ^ (next1 << 17);

  reg [47:0] read_address [0:QUEUE-1];
  reg read_id [0:QUEUE-1];
  reg [31:0] read_due [0:QUEUE-1];
  reg [31:0] reads_in = 0, reads_out = 0;
  reg [47:0] write_address;
  reg [8*PORT-1:0] write_data;
  reg [PORT-1:0] write_strobe;
  reg have_address = 0, have_data = 0;
  reg [31:0] answers_in = 0, answers_out = 0;
  reg [31:0] answer_due [0:QUEUE-1];
  reg [1:0] answer_code [0:QUEUE-1];
  integer i;
  wire [31:0] in_flight = reads_in - reads_out;

  always @(posedge clk) begin
    if (rst) begin
      axi_arready <= 0; axi_rvalid <= 0; axi_awready <= 0; axi_wready <= 0; axi_bvalid <= 0;
      reads_in <= 0; reads_out <= 0; have_address <= 0; have_data <= 0; answers_in <= 0; answers_out <= 0;
    end else begin
      axi_arready <= go0 && in_flight < QUEUE - 4;
      if (axi_arvalid && axi_arready) begin
        read_address[reads_in % QUEUE] <= axi_araddr;
        read_id[reads_in % QUEUE] <= axi_arid;
        read_due[reads_in % QUEUE] <= cycle + latency + random[5:2];
        reads_in <= reads_in + 1;
      end
      if (!axi_rvalid || axi_rready) begin
        axi_rvalid <= 0;
        if (reads_in != reads_out && read_due[reads_out % QUEUE] <= cycle && go1) begin
          axi_rvalid <= 1; axi_rlast <= 1; axi_rid <= read_id[reads_out % QUEUE];
          axi_rresp <= read_address[reads_out % QUEUE] + PORT <= SIZE ? 0 : 2;
          for (i = 0; i < PORT; i = i + 1)
            axi_rdata[8*i +: 8] <= memory[(read_address[reads_out % QUEUE] + i) % SIZE];
          reads_out <= reads_out + 1;
        end
      end
      // one write at a time, its address and its data in either order
      axi_awready <= 0; axi_wready <= 0;
      if (!have_address && !axi_awready) axi_awready <= go2;
      if (!have_data && !axi_wready) axi_wready <= go3;
      if (axi_awvalid && axi_awready) begin write_address <= axi_awaddr; have_address <= 1; end
      if (axi_wvalid && axi_wready) begin write_data <= axi_wdata; write_strobe <= axi_wstrb; have_data <= 1; end
      if (axi_awready && !axi_awvalid) axi_awready <= 1;
      if (axi_wready && !axi_wvalid) axi_wready <= 1;
      if (have_address && have_data) begin
        have_address <= 0; have_data <= 0;
        for (i = 0; i < PORT; i = i + 1)
          if (write_strobe[i] && write_address + PORT <= SIZE) memory[(write_address + i) % SIZE] = write_data[8*i +: 8];
        answer_due[answers_in % QUEUE] <= cycle + latency + random[11:8];
        answer_code[answers_in % QUEUE] <= write_address + PORT <= SIZE ? 0 : 2;
        answers_in <= answers_in + 1;
      end
      if (!axi_bvalid || axi_bready) begin
        axi_bvalid <= 0;
        if (answers_in != answers_out && answer_due[answers_out % QUEUE] <= cycle && go4) begin
          axi_bvalid <= 1; axi_bid <= 0; axi_bresp <= answer_code[answers_out % QUEUE];
          answers_out <= answers_out + 1;
        end
      end
    end
  end

  // ---- host ---------------------------------------------------------------------------------------------
  // A state machine at the rising edge; the program below asks at the falling edge and waits for `taken`.
  reg asks = 0, asks_write = 0, taken = 0;
  reg [11:0] asks_address = 0;
  reg [31:0] asks_value = 0, got = 0;
  reg [2:0] step = 0;
  always @(posedge clk) begin
    if (rst) begin
      s_awvalid <= 0; s_wvalid <= 0; s_bready <= 0; s_arvalid <= 0; s_rready <= 0; step <= 0; taken <= 0;
      s_awaddr <= 0; s_wdata <= 0; s_wstrb <= 0; s_araddr <= 0;
    end else if (!asks) taken <= 0;
    else if (!taken) case (step)
      0: if (asks_write) begin
           s_awaddr <= asks_address; s_wdata <= asks_value; s_wstrb <= 15;
           s_awvalid <= 1; s_wvalid <= 1; s_bready <= 1; step <= 1;
         end else begin
           s_araddr <= asks_address; s_arvalid <= 1; s_rready <= 1; step <= 3;
         end
      1: if (s_awready && s_wready) begin s_awvalid <= 0; s_wvalid <= 0; step <= 2; end
      2: if (s_bvalid) begin s_bready <= 0; step <= 0; taken <= 1; end
      3: if (s_arready) begin s_arvalid <= 0; step <= 4; end
      4: if (s_rvalid) begin got <= s_rdata; s_rready <= 0; step <= 0; taken <= 1; end
      default: step <= 0;
    endcase
  end
  task host(input writes, input [11:0] address, input [31:0] value);
    begin
      @(negedge clk);
      asks_write = writes; asks_address = address; asks_value = value; asks = 1;
      @(negedge clk);
      while (!taken) @(negedge clk);
      asks = 0;
      while (taken) @(negedge clk);
    end
  endtask
  task host_write(input [11:0] address, input [31:0] value);
    host(1, address, value);
  endtask
  task host_read(input [11:0] address);
    host(0, address, 0);
  endtask

  // ---- programs -----------------------------------------------------------------------------------------
  integer index, found, k, cause, count, failures = 0, programs = 0, wrong, first, started, done;
  reg [31:0] base, code;
  reg [31:0] status;
  string folder, name, only;

  initial begin
    folder = "vectors"; only = "";
    if ($value$plusargs("vectors=%s", folder)) ;
    if ($value$plusargs("only=%s", only)) ;
    if ($value$plusargs("seed=%d", seed)) ;
    if ($value$plusargs("stall=%d", stall)) ;
    if ($value$plusargs("latency=%d", latency)) ;
    index = $fopen({folder, "/index.txt"}, "r");
    if (index == 0) begin $display("RESULT: FAIL: no %s/index.txt", folder); $fatal(1); end
    // each line: name, byte address of the program, cause of the trap or 0, number of codes, codes
    found = $fscanf(index, "%s %h %d %d", name, base, cause, count);
    while (found == 4) begin
      wrong = 0;
      if (only != "" && only != name) begin
        for (k = 0; k < count; k = k + 1) found = $fscanf(index, "%h", code);
      end else begin
        @(negedge clk);
        rst = 1;
        repeat (4) @(negedge clk);
        for (k = 0; k < SIZE; k = k + 1) begin memory[k] = 0; expected[k] = 0; end
        $readmemh({folder, "/", name, ".before.hex"}, memory);
        $readmemh({folder, "/", name, ".after.hex"}, expected);
        @(negedge clk);
        rst = 0;
        repeat (2) @(negedge clk);
        host_write(@program_low@, base);
        host_write(@program_high@, 0);
@ARGUMENTS@
        host_write(@enable@, 1);
        started = cycle;
        host_write(@doorbell@, 1);
        done = 0; k = 0;
        while (!done) begin
          @(negedge clk);
          if (cycle - started > LIMIT) begin
            $display("  %s: no end after %0d cycles", name, LIMIT); wrong = wrong + 1; done = 1;
          end
          if (irq) begin
            host_read(@status@);
            status = got;
            if (status[2]) begin
              host_read(@cause@);
              if (got != cause) begin $display("  %s: trapped with cause %0d, not %0d", name, got, cause); wrong = wrong + 1; end
            end else begin
              host_read(@code@);
              if (k < count) begin
                found = $fscanf(index, "%h", code);
                if (got[15:0] != code[15:0]) begin $display("  %s: code %0h, not %0h", name, got, code); wrong = wrong + 1; end
              end
              k = k + 1;
            end
            if (!status[0]) done = 1;
            host_write(@acknowledge@, 1);
          end
        end
        if (cause != 0 && !status[2]) begin $display("  %s: no trap", name); wrong = wrong + 1; end
        if (k != count) begin $display("  %s: %0d codes, not %0d", name, k, count); wrong = wrong + 1; end
        while (k < count) begin found = $fscanf(index, "%h", code); k = k + 1; end
        first = -1;
        for (k = 0; k < SIZE; k = k + 1) if (memory[k] !== expected[k]) begin
          if (first < 0) first = k;
          wrong = wrong + 1;
        end
        if (first >= 0) $display("  %s: memory differs from %0h on: %0h, not %0h", name, first, memory[first], expected[first]);
        programs = programs + 1;
        if (wrong != 0) failures = failures + 1;
        if (wrong == 0) $display("PASS %s: %0d cycles", name, cycle - started);
        else $display("FAIL %s: %0d differences", name, wrong);
      end
      found = $fscanf(index, "%s %h %d %d", name, base, cause, count);
    end
    $fclose(index);
    if (failures == 0 && programs > 0) begin
      $display("RESULT: PASS: %0d programs", programs);
      $finish;
    end else begin
      $display("RESULT: FAIL: %0d of %0d programs", failures, programs);
      $fatal(1);
    end
  end
endmodule
"""


def testbench(port_bytes: int, size: int, ports: dict[str, tuple[str, int]]) -> str:
    """The testbench of a core with these ports; `size`: bytes of memory, a power of two."""
    registers = {r.name: f"12'h{r.address:03x}" for r in csr_map()}
    wires = []
    for name, (direction, width) in ports.items():
        if name in ("clk", "rst"):
            continue
        shape = f"[{width - 1}:0] " if width > 1 else ""
        wires.append(f"  {'reg' if direction == 'input' else 'wire'} {shape}{name};")
    lines = []
    for i, value in enumerate(arguments()):
        lines.append(f"        host_write({registers[f'argument{i}_low']}, 32'h{value & 0xFFFFFFFF:08x});")
        lines.append(f"        host_write({registers[f'argument{i}_high']}, 32'h{value >> 32:08x});")
    text = TEXT
    for key, words in {
        "PORT": str(port_bytes), "SIZE": str(size), "WIRES": "\n".join(wires),
        "CONNECTIONS": ",\n".join(f"    .{name}({name})" for name in ports), "ARGUMENTS": "\n".join(lines),
        **{n: registers[n] for n in ("program_low", "program_high", "enable", "doorbell", "status", "cause", "code",
                                     "acknowledge")},
    }.items():  # fmt: skip
        text = text.replace(f"@{key}@", words)
    return text


def hexadecimal(memory: np.ndarray) -> str:
    """Memory as `$readmemh` reads it, bytes, 16 a line; lines of zeros are left out (the testbench starts from zeros)."""
    rows = memory.reshape(-1, 16)
    lines, follows = [], False
    for at in range(len(rows)):
        if not rows[at].any():
            follows = False
            continue
        if not follows:
            lines.append(f"@{16 * at:x}")
        lines.append(" ".join(f"{b:02x}" for b in rows[at]))
        follows = True
    return "\n".join(lines) + "\n"


def program_hex(program: Sequence[int]) -> str:
    """The program, a word of 128 bits a line, as it would be written into memory of that width."""
    return "".join(f"{int.from_bytes(binary([word]), 'little'):032x}\n" for word in program)


def index(found: Sequence[Vector]) -> str:
    """One line a vector: name, address of the program, cause, number of codes, codes; numbers but counts in hex."""
    return "".join(
        " ".join([v.name, f"{v.base:x}", str(v.cause), str(len(v.codes)), *(f"{c:x}" for c in v.codes)]) + "\n"
        for v in found
    )  # fmt: skip
