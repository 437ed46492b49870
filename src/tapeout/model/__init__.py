"""What the chip is for: a Hugging Face folder or a shipped config.json becomes a `Model`.

`architecture` holds the types, `families/` one file per model family, `catalog/` the shipped
configurations, `checkpoint/` the tensors on disk. Imports nothing of the other folders.
"""
