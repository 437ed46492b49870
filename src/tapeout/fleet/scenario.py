"""A scenario: what a plan is about. TOML on top of the shipped tables; every number a quantity with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from tapeout.errors import InputError, Phrase
from tapeout.fields import Fields
from tapeout.files import read_toml
from tapeout.fleet.formula import Month
from tapeout.fleet.scenario_fields import FORMS, POSITIVE, form_of
from tapeout.fleet.units import unit
from tapeout.physical.quantity import Confidence, Origin, Quantity

TABLES = ("systems", "network", "site", "power", "zones", "supply", "finance")
_ENTRIES = {"value", "low", "high", "unit", "source", "confidence", "origin"}
# Quantities of which a negative value means something.
_SIGNED = ("latitude", "longitude", "growth", "trend", "residual", "rate_of_change", "slip")


@dataclass(frozen=True)
class Stage:
    """Power that a site gets from one date on: of the grid, or of generators beside it."""

    name: str  # of its quantity
    kind: str  # grid or gas
    date: Month


@dataclass(frozen=True)
class Site:
    """Where accelerators stand."""

    name: str
    zone: str
    own: bool
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Scenario:
    """A scenario, read and checked. `quantities` by dotted name, those of the tables included."""

    name: str
    title: str
    where: str
    start: Month
    months: int
    chip: str
    tape_out: Month
    first_wafers: Month
    cooling: Mapping[str, str]  # by accelerator
    classes: Mapping[str, str]  # class of requests → model
    regions: tuple[str, ...]
    gpus: tuple[str, ...]
    vendors: Mapping[str, str]
    sites: tuple[Site, ...]
    targets: tuple[int, ...]  # years
    quantities: Mapping[str, Quantity]

    def value(self, name: str, wanted: str) -> float:
        """A quantity at its value, in unit `wanted`."""
        q = self.quantities[name]
        return q.value * unit(q.unit).factor / unit(wanted).factor

    @property
    def accelerators(self) -> tuple[str, ...]:
        """The own one and those of others."""
        return ("own", *self.gpus)


def shipped() -> tuple[str, ...]:
    """The names of the shipped scenarios."""
    found = files("tapeout.fleet.scenarios").iterdir()
    return tuple(sorted(p.name.removesuffix(".toml") for p in found if p.name.endswith(".toml")))


@cache
def tables() -> Mapping[str, Quantity]:
    """The quantities of the shipped tables."""
    found: dict[str, Quantity] = {}
    for name in TABLES:
        text = files("tapeout.fleet.tables").joinpath(f"{name}.toml").read_text(encoding="utf-8")
        found |= _quantities(tomllib.loads(text), f"tables/{name}.toml", "")
    return found


def load_scenario(source: str | Path) -> Scenario:
    """A shipped scenario by name, or one in a TOML file. Raises InputError naming the field that is wrong."""
    name = str(source)
    if not name.endswith(".toml"):
        if name not in shipped():
            raise InputError("--scenario", "", name, f"one of {', '.join(shipped())}, or a TOML file")
        text = files("tapeout.fleet.scenarios").joinpath(f"{name}.toml").read_text(encoding="utf-8")
        return parse_scenario(tomllib.loads(text), f"{name}.toml", name)
    path = Path(name)
    table = read_toml(path)
    base = table.pop("base", None)
    if base is not None:
        if base not in shipped():
            raise InputError(path, "base", base, f"one of {', '.join(shipped())}")
        text = files("tapeout.fleet.scenarios").joinpath(f"{base}.toml").read_text(encoding="utf-8")
        table = _merged(tomllib.loads(text), table)
    return parse_scenario(table, path, path.stem)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in over.items():
        below = found.get(key)
        nested = isinstance(value, dict) and isinstance(below, dict) and not _ENTRIES & value.keys()
        found[key] = _merged(below, value) if nested else value  # type: ignore[arg-type]
    return found


def parse_scenario(table: dict[str, Any], where: object, name: str) -> Scenario:
    """The scenario of a parsed table."""
    f = Fields(table, where)
    plain, numbers = _split(table)
    given = _quantities(numbers, where, "")
    quantities = dict(tables())
    for key, q in given.items():
        if key in quantities and not unit(q.unit).like(unit(quantities[key].unit)):
            raise InputError(where, f"{key}.unit", q.unit, f"a unit like {quantities[key].unit}")
        quantities[key] = q
    start = _month(f, "start")
    months = f.integer("months", 108, low=24, high=240)
    own = f.section("own")
    tape_out, first = _month(own, "tape_out"), _month(own, "first_wafers")
    if first < tape_out:
        raise own.fail("first_wafers", Phrase(str(first)), f"a month after own.tape_out ({tape_out})")
    gpu_tables = dict(f.section("gpu", optional=True).sections())
    cooling = {"own": own.text("cooling", "liquid", choices=("air", "liquid"))}
    for key, g in gpu_tables.items():
        cooling[key] = g.text("cooling", "liquid", choices=("air", "liquid"))
    classes = {key: c.text("model") for key, c in f.section("kind").sections()}
    sites = tuple(_site(key, s, start, quantities) for key, s in f.section("site").sections())
    years = sorted(int(k[1:]) for k in f.section("target").table if k[:1] == "y" and k[1:].isdigit())
    scenario = Scenario(
        name=name,
        title=f.text("title", name),
        where=str(where),
        start=start,
        months=months,
        chip=own.text("chip"),
        tape_out=tape_out,
        first_wafers=first,
        cooling=cooling,
        classes=classes,
        regions=tuple(f.section("region").table),
        gpus=tuple(gpu_tables),
        vendors={"own": "own chip"} | {k: g.text("vendor", k) for k, g in gpu_tables.items()},
        sites=sites,
        targets=tuple(years),
        quantities=quantities,
    )
    del plain
    _check(scenario, f, set(given))
    return scenario


def _split(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Strings and structure apart from quantities; a bare number stays with the quantities, which refuse it."""
    plain: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and not _ENTRIES & value.keys():
            plain[key], inner = _split(value)
            if inner:
                numbers[key] = inner
        elif isinstance(value, str) or key == "months":
            plain[key] = value
        else:
            numbers[key] = value
    return plain, numbers


def _quantities(table: Mapping[str, Any], where: object, path: str) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if not isinstance(value, dict):
            raise InputError(where, name, value, "a table with value, unit, source, confidence and origin")
        if _ENTRIES & value.keys():
            found[name] = read_quantity(Fields(value, where, name))
        else:
            found |= _quantities(value, where, name)
    return found


def read_quantity(entry: Fields) -> Quantity:
    """A quantity whose unit is any that the algebra of units knows. Raises InputError naming the field."""
    text = entry.text("unit")
    try:
        unit(text)
    except ValueError as e:
        raise entry.fail("unit", text, f"a unit ({e})") from None
    least = -1e18 if entry.path.rsplit(".", 1)[-1].rsplit("_", 1)[-1] in _SIGNED else 0.0
    value = entry.number("value", low=least)
    low = entry.number("low", value, low=least, high=value)
    high = entry.number("high", value, low=value)
    source = entry.text("source")
    if not source.strip():
        raise entry.fail("source", source, "where the number comes from")
    confidence = entry.text("confidence", choices=get_args(Confidence))
    origin = entry.text("origin", choices=get_args(Origin))
    entry.done()
    return Quantity(value, low, high, text, source, confidence, origin)  # type: ignore[arg-type]


def _month(f: Fields, key: str) -> Month:
    text = f.text(key)
    try:
        return Month.parse(text)
    except ValueError:
        raise f.fail(key, text, 'a month as "2026-10"') from None


def _site(key: str, s: Fields, start: Month, quantities: Mapping[str, Quantity]) -> Site:
    zones = sorted({n.split(".")[1] for n in quantities if n.startswith("zone.")})
    stages = []
    for label, stage in s.section("connection").sections():
        date = _month(stage, "date")
        if date < start:
            raise stage.fail("date", Phrase(str(date)), f"a month from the plan's start ({start})")
        stages.append(
            Stage(f"site.{key}.connection.{label}.power", stage.text("kind", choices=("grid", "gas")), date)
        )
    if not stages:
        raise s.fail("connection", Phrase("nothing"), "at least one stage with kind, date and power")
    return Site(
        key,
        s.text("zone", choices=zones),
        s.text("ownership", choices=("own", "partner")) == "own",
        tuple(sorted(stages, key=lambda x: x.date)),
    )


def _check(s: Scenario, f: Fields, given: set[str]) -> None:
    """What fields must be to each other."""
    for name in sorted(given - set(tables())):
        form = FORMS.get(form_of(name))
        if form is None:
            raise InputError(
                s.where, name, Phrase("an unknown field"), "a field of the tables or of a scenario"
            )
        if not unit(s.quantities[name].unit).like(unit(form)):
            raise InputError(s.where, f"{name}.unit", s.quantities[name].unit, f"a unit like {form}")
    for name in _needed(s):
        if name not in s.quantities:
            raise InputError(s.where, name, Phrase("nothing"), f"a quantity in {FORMS[form_of(name)]}")
    for name, q in s.quantities.items():
        leaf = name.rsplit(".", 1)[-1]
        if q.low <= 0 and (name in POSITIVE or leaf in POSITIVE):
            field = name if q.value <= 0 else f"{name}.low"
            raise InputError(s.where, field, q.low, "a number above 0")
        if leaf.endswith("growth") and q.high * unit(q.unit).factor > 10 * unit("1/year").factor:
            raise InputError(s.where, name, q.high, "at most 10 a year")
    if not s.targets:
        raise f.fail("target", Phrase("nothing"), "own power by year: y2027 and so on")
    before = 0.0
    for year in s.targets:
        power = s.value(f"target.y{year}", "GW")
        if power < before:
            raise InputError(
                s.where, f"target.y{year}", power, f"at least {before:g} GW, that of the year before"
            )
        before = power
    _check_power(s)
    total = sum(s.value(f"region.{r}.share", "1") for r in s.regions)
    if abs(total - 1) > 0.02:
        raise InputError(s.where, "region", Phrase(f"shares that sum to {total:g}"), "shares that sum to 1")
    for name in [*(f"region.{r}.swing" for r in s.regions), *(f"kind.{c}.cached" for c in s.classes)]:
        if s.value(name, "1") > 0.999:
            raise InputError(s.where, name, s.value(name, "1"), "a share below 1")


def _needed(s: Scenario) -> list[str]:
    """Every field that a scenario must have."""
    own = ("own", "chip", "nre")  # the chip's own, where a scenario knows better
    found = [k for k in FORMS if "*" not in k and k.split(".")[0] not in own]
    for c in s.classes:
        found += [f"kind.{c}.{k}" for k in ("growth", "prompt", "cached", "output", "tpot", "ttft")]
        if f"kind.{c}.rate" not in s.quantities:
            found.append(f"kind.{c}.per_user")
    found += [f"region.{r}.{k}" for r in s.regions for k in ("share", "longitude", "swing")]
    found += [f"gpu.{a}.{k}" for a in s.gpus for k in ("installed", "added", "progress")]
    found += [f"service.attained_{a}" for a in s.accelerators]
    return found + [f"site.{x.name}.build.{k}" for x in s.sites for k in ("solar", "wind", "battery")]


def _check_power(s: Scenario) -> None:
    """More power than the grid gives is refused: of a zone, and of all connections together."""
    for site in s.sites:
        most = s.value(f"zone.{site.zone}.peak_load", "GW") * s.value(f"zone.{site.zone}.reserve_margin", "1")
        drawn = 0.0
        for stage in site.stages:
            if stage.kind == "grid":
                drawn += s.value(stage.name, "GW")
                if drawn > most:
                    raise InputError(
                        s.where,
                        stage.name,
                        Phrase(f"{drawn:g} GW with the stages before it"),
                        f"at most {most:.3g} GW, the reserve of zone {site.zone}",
                    )
    for year in s.targets:
        end = Month(year, 12)
        connected = sum(s.value(g.name, "GW") for site in s.sites for g in site.stages if g.date <= end)
        wanted = s.value(f"target.y{year}", "GW")
        if wanted > connected:
            raise InputError(
                s.where,
                f"target.y{year}",
                Phrase(f"{wanted:g} GW"),
                f"at most {connected:.4g} GW, what the sites' connections give by {end}",
            )
