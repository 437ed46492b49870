"""A checkpoint: a folder of safetensors files, with an index if there are several, held against a `Model`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tapeout.errors import InputError, Phrase
from tapeout.files import read_json
from tapeout.model.architecture import Model
from tapeout.model.checkpoint.safetensors import SafetensorsFile
from tapeout.model.formats import StoredTensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

# Found in published checkpoints and recomputed or not needed by anyone: rotary frequencies (early Llama).
_IGNORED = re.compile(r".*\.rotary_emb\.inv_freq")


class Checkpoint:
    """The tensors of a checkpoint by name, mapped from their files; the page cache holds the only copy.

    `where` is the folder, for messages.
    """

    def __init__(self, where: Path, files: list[SafetensorsFile]) -> None:
        self.where = where
        self._home: dict[str, SafetensorsFile] = {}
        for file in files:
            for name in file:
                if name in self._home:
                    found = Phrase(f"it in {self._home[name].path.name} too")
                    raise InputError(file.path, name, found, "each tensor in one file")
                self._home[name] = file

    @classmethod
    def open(cls, folder: str | Path) -> Checkpoint:
        """Open `folder`: `model.safetensors`, or the shards that `model.safetensors.index.json` names.

        Headers are read and checked, data is not. Raises InputError if a file is absent or malformed, if the
        index names a shard or a tensor that is not there, or if a tensor is in two shards.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(folder, "", Phrase("nothing there"), f"a folder with {SINGLE} or {INDEX}")
        if (folder / INDEX).exists():
            return cls(folder, _shards(folder))
        if (folder / SINGLE).exists():
            return cls(folder, [SafetensorsFile(folder / SINGLE)])
        shards = len(list(folder.glob("*.safetensors")))
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth"))
        found = (
            f"{shards} shards without an index"
            if shards
            else "pickled weights only"
            if pickled
            else "neither"
        )
        raise InputError(folder, "", Phrase(found), f"{SINGLE} or {INDEX}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def __contains__(self, name: object) -> bool:
        return name in self._home

    def stored(self, name: str) -> StoredTensor:
        """Name, shape and dtype of a tensor. Raises InputError if the checkpoint has none of that name."""
        return self._file(name).stored(name)

    def tensor(self, name: str) -> np.ndarray:
        """The tensor as a read-only view of its file; BF16 as uint16, 8-bit floats and scales as uint8.

        Raises InputError if the checkpoint has no tensor of that name.
        """
        return self._file(name).tensor(name)

    def _file(self, name: str) -> SafetensorsFile:
        if name not in self._home:
            raise InputError(self.where, name, Phrase("no such tensor"), "it in the checkpoint")
        return self._home[name]

    @property
    def bytes(self) -> int:
        """Bytes of tensor data."""
        return sum(self.stored(name).bytes for name in self._home)

    def check(self, model: Model) -> None:
        """Hold every tensor's name, shape and dtype against what `model` stores.

        Raises InputError naming the first that is missing, wrong or unexpected, and how many more there are.
        Tensors of parts that the description of the model leaves out (`model.approximations`) are passed over,
        as are an output matrix where it is tied to the embedding and rotary frequencies.
        """
        expected = {stored.name: stored for tensor in model.tensors for stored in tensor.stored()}
        missing = [name for name in expected if name not in self._home]
        if missing:
            want = expected[missing[0]]
            raise InputError(
                self.where,
                missing[0],
                Phrase("no such tensor" + _more(missing)),
                f"{want.dtype} {list(want.shape)} as config.json implies",
            )
        wrong = [n for n, s in expected.items() if self._file(n).stored(n)[1:] != s[1:]]
        if wrong:
            want, have = expected[wrong[0]], self.stored(wrong[0])
            raise InputError(
                self.where,
                wrong[0],
                Phrase(f"{have.dtype} {list(have.shape)}{_more(wrong)}"),
                f"{want.dtype} {list(want.shape)} as config.json implies",
            )
        extra = [n for n in self._home if n not in expected and not _passed_over(n, model)]
        if extra:
            have = self.stored(extra[0])
            raise InputError(
                self.where,
                extra[0],
                Phrase(f"{have.dtype} {list(have.shape)}{_more(extra)}"),
                "no such tensor in a model of this config.json",
            )


def _passed_over(name: str, model: Model) -> bool:
    if _IGNORED.fullmatch(name) or (model.tied_embeddings and name.endswith("lm_head.weight")):
        return True
    if not model.approximations:
        return False
    # What descriptions leave out are whole modules: further layers, encoders. A described layer is complete.
    first = next((t.name for t in model.tensors if t.layer is not None), "")
    layer = re.match(re.escape(first.split("layers.")[0]) + r"layers\.(\d+)\.", name)
    return layer is None or int(layer.group(1)) >= len(model.layers)


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""


def _shards(folder: Path) -> list[SafetensorsFile]:
    """The files that the index names, each tensor found where the index says."""
    index = folder / INDEX
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise InputError(
            index, "weight_map", Phrase(f"a {type(table).__name__}"), "a table of tensor to file"
        )
    files: dict[str, SafetensorsFile] = {}
    for name, shard in table.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError(
                index, f"weight_map.{name}", shard, "the name of a .safetensors file in the folder"
            )
        if shard not in files:
            if not (folder / shard).is_file():
                raise InputError(index, f"weight_map.{name}", shard, "a file that is there")
            files[shard] = SafetensorsFile(folder / shard)
        if name not in files[shard]:
            raise InputError(index, f"weight_map.{name}", shard, "a file that holds this tensor")
    return list(files.values())
