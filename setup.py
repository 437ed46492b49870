"""Builds the native kernels where there is a C compiler; without one, NumPy computes the same bits."""

import sys
from glob import glob

from setuptools import Extension, setup

FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-pthread"]

setup(
    ext_modules=[]
    if sys.platform == "win32"
    else [
        Extension(
            "tapeout.numerics._native",
            sorted(glob("src/tapeout/numerics/native/*.c")),
            depends=sorted(glob("src/tapeout/numerics/native/*.h")),
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        )
    ]
)
