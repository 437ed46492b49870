"""From the tensors of a checkpoint to operands: the loader that the compiler's memory image uses too."""

from tapeout.compiler.weights import Array, Loader, Source, decode, release

__all__ = ["Array", "Loader", "Source", "decode", "release"]
