"""A reader of Tcl commands, enough to say whether a constraint file is whole and speaks of what is there."""

from __future__ import annotations

import re

SDC = {
    "set_units", "create_clock", "set_clock_uncertainty", "set_clock_transition", "set_input_delay", "set_output_delay",
    "set_load", "set_input_transition", "set_case_analysis", "set_false_path", "set_max_fanout", "set_max_transition",
    "set_multicycle_path", "set_clock_groups", "set_driving_cell", "create_generated_clock",
}  # fmt: skip
UPF = {
    "upf_version", "create_power_domain", "create_supply_port", "create_supply_net", "connect_supply_net",
    "create_supply_set", "associate_supply_set", "create_logic_port", "create_power_switch", "set_isolation",
    "set_retention", "add_power_state", "create_pst", "add_pst_state", "load_upf", "set_level_shifter",
}  # fmt: skip


def commands(text: str) -> list[list[str]]:
    """Commands as words; braces and brackets are kept as one word. Raises ValueError for one that does not close."""
    found: list[list[str]] = []
    words: list[str] = []
    word, depth, line = "", 0, 1
    text = re.sub(r"(?m)^\s*#.*$", "", text).replace("\\\n", "  ")
    for c in text + "\n":
        line += c == "\n"
        if c in "{[":
            depth += 1
        elif c in "}]":
            depth -= 1
            if depth < 0:
                raise ValueError(f"line {line}: a bracket closes that was not open")
        if depth == 0 and c in " \t\n;":
            if word:
                words.append(word)
                word = ""
            if c in "\n;" and words:
                found.append(words)
                words = []
        else:
            word += c
    if depth:
        raise ValueError("a bracket is not closed")
    return found


def named(word: str) -> tuple[str, list[str]] | None:
    """("get_ports", names) of a word in brackets, without indices of bits; None for another."""
    match = re.fullmatch(r"\[(\w+)\s*(.*)\]", word, re.S)
    if match is None:
        return None
    names = match[2].replace("{", " ").replace("}", " ").split()
    return match[1], [re.sub(r"\[[^]]*\]$", "", n) for n in names]


def sdc_problems(text: str, ports: dict[str, tuple[str, int]]) -> list[str]:
    """What is wrong with an SDC file for a module with these ports."""
    try:
        lines = commands(text)
    except ValueError as e:
        return [str(e)]
    found = [f"unknown command {w[0]}" for w in lines if w[0] not in SDC]
    clocks = {w[w.index("-name") + 1] for w in lines if w[0] == "create_clock" and "-name" in w[:-1]}
    if not clocks:
        found.append("no clock")
    constrained: set[str] = set()
    for words in lines:
        for word in words:
            one = named(word)
            if one is None:
                continue
            kind, names = one
            known = set(ports) if kind == "get_ports" else clocks
            if kind in ("get_ports", "get_clocks"):
                found += [f"{words[0]}: no {kind[4:-1]} {n}" for n in names if n not in known]
                constrained |= set(names)
        for i, word in enumerate(words):
            if word in ("-period", "-max", "-min", "-setup", "-hold") and i + 1 < len(words):
                try:
                    if float(words[i + 1]) < 0:
                        found.append(f"{words[0]}: {word} {words[i + 1]} is negative")
                except ValueError:
                    found.append(f"{words[0]}: {word} {words[i + 1]} is no number")
    found += [f"port {n} has no constraint" for n in ports if n not in constrained]
    return found


def upf_problems(text: str, placed: list[str]) -> list[str]:
    """What is wrong with a UPF file of a module that places these instances."""
    try:
        lines = commands(text)
    except ValueError as e:
        return [str(e)]
    found = [f"unknown command {w[0]}" for w in lines if w[0] not in UPF]
    domains, nets, owned, declared = set(), set(), set(), set()
    for words in lines:
        options = {w: words[i + 1] for i, w in enumerate(words[:-1]) if w.startswith("-")}
        if words[0] == "create_power_domain":
            domains.add(words[1])
            elements = options.get("-elements", "{}").strip("{}").split()
            found += [f"{words[1]}: no instance {e}" for e in elements if e not in placed]
            owned |= set(elements)
            if "-include_scope" in words:
                owned |= set(placed)
        elif words[0] == "create_supply_net":
            nets.add(words[1])
        elif words[0] == "create_logic_port":
            declared.add(words[1])
        if "-domain" in options and options["-domain"] not in domains:
            found.append(f"{words[0]} {words[1]}: no domain {options['-domain']}")
        if "-isolation_signal" in options and options["-isolation_signal"] not in declared:
            found.append(f"{words[0]} {words[1]}: no port {options['-isolation_signal']}")
        if words[0] == "create_pst":
            listed = options.get("-supplies", "{}").strip("{}").split()
            found += [f"{words[1]}: no supply {n}" for n in listed if n not in nets]
    if not domains:
        found.append("no power domain")
    return found + [f"{n} is in no domain" for n in placed if n not in owned]
