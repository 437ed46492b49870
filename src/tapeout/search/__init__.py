"""Which chip: the space of designs, how each is judged on a workload, the exact Pareto front, the choice."""
