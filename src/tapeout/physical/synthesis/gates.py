"""A flat netlist as structural Verilog, for tools that read nothing else (OpenSTA, a gate-level simulator)."""

from __future__ import annotations

from collections.abc import Mapping

from tapeout.physical.synthesis.netlist import Flat, Nets


def port_names(flat: Flat) -> tuple[dict[str, int], dict[str, int]]:
    """Inputs and outputs bit by bit, name → net: `a[3]` is `a_3`, a port of one bit keeps its name."""

    def bits(ports: Mapping[str, Nets]) -> dict[str, int]:
        return {
            (f"{n}_{i}" if len(nets) > 1 else n): int(net)
            for n, nets in ports.items()
            for i, net in enumerate(nets)
        }

    return bits(flat.inputs), bits(flat.outputs)


def instance_names(flat: Flat) -> list[list[str]]:
    """Of each cell, as `structural` calls it: in the order of `flat.pins`."""
    first, names = 0, []
    for pins in flat.pins:
        names.append([f"u{first + i}" for i in range(len(pins))])
        first += len(pins)
    return names


def structural(flat: Flat, name: str = "top") -> str:
    """Verilog of a module with one port per bit. Macros are instances of their module, pin by pin."""
    inputs, outputs = port_names(flat)

    def net(n: int) -> str:
        return ("1'b0", "1'b1")[n] if n < 2 else f"n{n}"

    lines = [f"module {name} ({', '.join([*inputs, *outputs])});"]
    lines += [f"  input {p};" for p in inputs] + [f"  output {p};" for p in outputs]
    lines += [f"  wire n{n};" for n in range(2, flat.nets)]
    lines += [f"  assign {net(n)} = {p};" for p, n in inputs.items()]
    lines += [f"  assign {p} = {net(n)};" for p, n in outputs.items()]
    for cell, pins, names in zip(flat.types, flat.pins, instance_names(flat), strict=True):
        for row, own in zip(pins, names, strict=True):
            ports = ", ".join(f".{p}({net(int(n))})" for p, n in zip(cell.pins, row, strict=True) if n >= 0)
            lines.append(f"  {cell.name} {own} ({ports});")
    for where, module, ports_of in flat.macros:
        joined = ", ".join(
            f".{p}({{{', '.join(net(int(n)) for n in reversed(nets))}}})" for p, nets in ports_of.items()
        )
        lines.append(f"  \\{module} \\{where} ({joined});")
    return "\n".join([*lines, "endmodule", ""])
