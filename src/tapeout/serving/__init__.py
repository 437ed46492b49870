"""Many requests: request-level simulation, and the OpenAI-compatible endpoint."""
