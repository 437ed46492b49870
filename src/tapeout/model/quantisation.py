"""Which weights a checkpoint stores in which format: `quantization_config` of a config.json."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate

from tapeout.fields import Fields
from tapeout.model.architecture import Role
from tapeout.model.formats import StorageFormat

PLAIN: dict[str, StorageFormat] = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
MAX_GLOBS = 200  # patterns are tried on every weight; lists of plain names may be long

# A `re:` pattern made of nothing but these is the same as a few globs; anything else is not read.
_SIMPLE_REGEX = re.compile(r"(?:\.\*|\\\.|[\w.$^-])*(?:\((\w+(?:\|\w+)*)\))?(?:\.\*|\\\.|[\w.$^-])*")


class Storage:
    """The storage format of each weight: `plain`, or for a quantised matrix what its checkpoint chose."""

    def __init__(
        self,
        plain: StorageFormat,
        quantised: StorageFormat | None = None,
        roles: tuple[Role, ...] = (),
        skipped: Callable[[str], bool] = lambda module: False,
    ) -> None:
        self.plain, self._quantised, self._roles, self._skipped = plain, quantised, roles, skipped

    def matrix(self, module: str, role: Role) -> StorageFormat:
        """The format of a matrix; `module` is the name of the layer that owns it, `*` for every expert."""
        if self._quantised is None or role not in self._roles:
            return self.plain
        return self.plain if self._skipped(module.replace("*", "0")) else self._quantised


def read_storage(plain: StorageFormat, table: Fields | None) -> Storage:
    """The storage that `quantization_config` (`table`, or None: not quantised) asks for.

    Raises InputError for a method or an option whose layout is not known.
    """
    if table is None:
        return Storage(plain)
    methods = {
        "mxfp4": _mxfp4,
        "fp8": _fp8,
        "fbgemm_fp8": _fbgemm,
        "modelopt": _modelopt,
        "compressed-tensors": _compressed,
    }
    fmt, roles, key = methods[table.text("quant_method", choices=tuple(methods))](table)
    return Storage(plain, fmt, roles, _skips(table, key))


_LINEAR: tuple[Role, ...] = ("attention", "experts", "shared_expert", "dense")
_Choice = tuple[StorageFormat, tuple[Role, ...], str]


def _mxfp4(table: Fields) -> _Choice:
    return "mxfp4", ("experts",), "modules_to_not_convert"


def _fp8(table: Fields) -> _Choice:
    block = table.array("weight_block_size", [128, 128])
    if block != [128, 128]:
        raise table.fail("weight_block_size", block, "[128, 128]")
    return "fp8_block128", _LINEAR, "modules_to_not_convert"


def _fbgemm(table: Fields) -> _Choice:
    return "fp8_row", _LINEAR, "modules_to_not_convert"


def _modelopt(table: Fields) -> _Choice:
    formats: dict[str, StorageFormat] = {"FP8": "fp8_tensor", "NVFP4": "nvfp4"}
    algorithm = table.text("quant_algo", choices=tuple(formats))
    return formats[algorithm], _LINEAR, "ignore" if "ignore" in table else "exclude_modules"


def _compressed(table: Fields) -> _Choice:
    groups = [group for _, group in table.section("config_groups").sections()]
    if len(groups) != 1:
        raise table.fail("config_groups", f"{len(groups)} groups", "one group")
    weights = groups[0].section("weights")
    kind, bits = weights.text("type", choices=("float", "int")), weights.integer("num_bits", high=16)
    strategy = weights.text("strategy", choices=("tensor", "channel", "group", "block", "tensor_group"))
    known: dict[tuple[str, int, str], StorageFormat] = {
        ("float", 8, "channel"): "fp8_channel",
        ("float", 8, "tensor"): "fp8_tensor",
        ("int", 4, "group"): "int4_group32",
    }
    if (kind, bits, strategy) not in known:
        raise weights.fail(
            "type, num_bits, strategy",
            f"{kind} {bits} {strategy}",
            "one of " + ", ".join(" ".join(map(str, k)) for k in known),
        )
    if kind == "int" and weights.integer("group_size") != 32:
        raise weights.fail("group_size", weights.integer("group_size"), "32")
    return known[kind, bits, strategy], _LINEAR, "ignore"


def _skips(table: Fields, key: str) -> Callable[[str], bool]:
    """Whether a module is on the list `key`, of names, parts of names, globs and simple `re:` patterns."""
    plain: set[str] = set()
    globs: list[str] = []
    for entry in table.array(key, []):
        if not isinstance(entry, str):
            raise table.fail(key, entry, "names of modules")
        patterns = [entry]
        if entry.startswith("re:"):
            simple = _SIMPLE_REGEX.fullmatch(entry[3:])
            if not simple:
                raise table.fail(key, entry, "a pattern of names, dots, `.*` and one group of alternatives")
            glob = entry[3:].strip("^$").replace(".*", "*").replace("\\.", ".")
            choices = simple.group(1)
            patterns = [glob.replace(f"({choices})", c) for c in choices.split("|")] if choices else [glob]
        for pattern in patterns:
            if any(c in pattern for c in "*?["):
                globs += [translate(pattern), translate(pattern + ".*")]
            else:
                plain.add(pattern)
    if len(globs) > 2 * MAX_GLOBS:
        raise table.fail(key, f"{len(globs) // 2} patterns", f"at most {MAX_GLOBS}")
    any_glob = re.compile("|".join(globs)) if globs else None

    def skipped(module: str) -> bool:
        parts = module.split(".")
        runs = (".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1))
        return any(run in plain for run in runs) or bool(any_glob and any_glob.match(module))

    return skipped
