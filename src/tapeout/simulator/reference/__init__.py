"""Held against Hugging Face transformers: the same checkpoint, the same text, what differs and by how much.

`huggingface` runs the reference, `trace` is what a run leaves behind, `compare` are the statistics of two runs,
`verify` puts them together. Needs the `ref` extra.
"""
