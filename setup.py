"""Builds the native parts where there is a C compiler. Without one NumPy computes the same bits; the cycle simulator
is missing."""

import sys
from glob import glob

from setuptools import Extension, setup

FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-pthread"]


def native(name, folder, flags=FLAGS):
    """The C files of a folder as one library."""
    return Extension(
        name,
        sorted(glob(f"{folder}/*.c")),
        depends=sorted(glob(f"{folder}/*.h")),
        extra_compile_args=flags,
        extra_link_args=["-pthread"],
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        optional=True,
    )


setup(
    ext_modules=[]
    if sys.platform == "win32"
    else [
        native("tapeout.numerics._native", "src/tapeout/numerics/native"),
        native("tapeout.simulator.cycle._native", "src/tapeout/simulator/cycle/native"),
    ]
)
