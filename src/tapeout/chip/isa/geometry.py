"""What of a ChipSpec an instruction's meaning and time depend on, and the layouts that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip.spec import Core

GRANULE = 8  # bytes that the scratchpad's ECC protects together, and so the least it writes
BLOCK_BYTES = 32  # a block of 8-bit codes; operands of the matrix and vector engines start at multiples of it
LEAST_TILES = 8  # beats of a step that hide the FP32 adder's loop also where rows are few


@dataclass(frozen=True)
class Geometry:
    """Counts are of one core; `ways`: outputs that a unit works on at once with MXFP4 weights."""

    rows: int
    columns: int
    ways: int
    formats: tuple[str, ...]
    lanes: int  # of the vector engine
    pad_bytes: int
    word_bytes: int
    port_bytes: int
    tiles: int = LEAST_TILES  # accumulators of a unit and way in each of the two banks, see `tiles_of`

    @staticmethod
    def of(core: Core) -> Geometry:
        """That of a core."""
        e, pad = core.matrix, core.scratchpad
        ways = 2 if e.double_rate_fp4 and "mxfp4" in e.formats else 1
        return Geometry(
            e.rows, e.columns, ways, tuple(e.formats), core.vector_lanes, pad.kibibytes * 1024, pad.word_bytes,
            core.port_bytes, tiles_of(e.rows),
        )  # fmt: skip

    def outputs(self, format: str) -> int:
        """Outputs of a tile: what one weight beat contributes to."""
        return self.columns * (self.ways if format == "mxfp4" else 1)

    def beat_bytes(self, format: str) -> int:
        """Bytes of a weight beat: a 32-byte word for each column, padded to a power of two of columns. A word
        holds 32 MXINT8 codes, or 32 MXFP4 codes for each way, one way after the other."""
        return power_of_two(self.columns) * (BLOCK_BYTES if format != "mxfp4" or self.ways == 2 else 16)

    def scale_bytes(self, format: str) -> int:
        """Bytes of a beat's scales: one for each column and way (ways side by side), padded to a power of two."""
        return power_of_two(self.outputs(format))

    def pitch(self, format: str) -> int:
        """Bytes from one tile of results to the next: FP32, padded to a granule."""
        return -(-4 * self.outputs(format) // GRANULE) * GRANULE


def tiles_of(rows: int) -> int:
    """Accumulators of a unit and way in a bank. A step loads a block into each row, one a cycle, while a beat for each
    tile goes by: as many tiles as rows keep the units busy. A power of two, because they are numbered by bits."""
    return max(LEAST_TILES, power_of_two(rows))


def power_of_two(n: int) -> int:
    """The smallest power of two not below n."""
    return 1 << (n - 1).bit_length()


def round_up(n: int, unit: int) -> int:
    """The smallest multiple of `unit` not below n."""
    return -(-n // unit) * unit
