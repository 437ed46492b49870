"""Instructions of the matrix engine."""
