"""The bits: formats and operations, each as a plain definition and as a fast version held equal to it.

`formats` and `convert` say what numbers are, `product` what a matrix product is, `functions` what exp2,
reciprocal, rsqrt and sigmoid are, `vector` the order of operations of everything built on them; `plan`
gives each tensor a format. These files are the definition. `fast` computes the same bits with native code
(`native/`, C, compiled on installation where there is a compiler) or, without it, with NumPy. Nothing here
imports another folder.
"""
