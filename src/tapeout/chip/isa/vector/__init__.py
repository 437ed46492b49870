"""Instructions of the vector engine."""
