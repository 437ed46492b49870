"""The memory macro that banks are made of: one port, a read takes a cycle, writes by granule.

What is simulated is this text; an implementation replaces the module with compiled macros of the same ports.
"""

SRAM_1RW = """module sram_1rw #(parameter WIDTH = 72, parameter DEPTH = 16, parameter GRANULE = 72, parameter INDEX = 4)
  (input clk, input enable, input [WIDTH/GRANULE-1:0] write, input [INDEX-1:0] address,
   input [WIDTH-1:0] data, output reg [WIDTH-1:0] q);
  reg [WIDTH-1:0] words [0:DEPTH-1];
  genvar g;
  always @(posedge clk) if (enable && &write) words[address] <= data;  // as below, in one piece
  generate for (g = 0; g < WIDTH/GRANULE; g = g + 1) begin: granule
    always @(posedge clk)
      if (enable && write[g] && !(&write)) words[address][g*GRANULE +: GRANULE] <= data[g*GRANULE +: GRANULE];
  end endgenerate
  always @(posedge clk) if (enable && write == 0) q <= words[address];
endmodule
"""
