"""Many requests: request-level simulation of a deployment, a fluid model of a fleet, and the endpoint.

`requests` and `traces/` are the load, `costs` the time and energy of a step (from `estimate`), `replica` and
`cluster` the engine under simulation, `records` what came out; `reference` is the same engine token by token.
"""
