"""An OpenAI-compatible endpoint whose tokens the simulated chip computes.

`settings` is what the operator chooses, `served` the model with its tokenizer and chip, `requests` and
`parameters` read what clients send, `completions` and `chat` answer them, `scheduler` batches sequences
continuously, `engine` runs it in one thread, `chip` keeps the chip's own time, `app` is the ASGI application and
`server` runs it. Python callers want `serve` and `running` of `server`, or `make_app` of `app`.
"""
