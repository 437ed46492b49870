"""A model's tensors and tokenizer on disk, as Hugging Face publishes them.

`safetensors` reads and writes one file, `folder` a whole checkpoint (sharded or not) and holds it against a
`Model`, `tokenizer` turns text to tokens and back, `harmony` renders a conversation for gpt-oss. Nothing is
ever unpickled; every file is mapped, not read, so a checkpoint is in memory once: in the page cache.
"""
