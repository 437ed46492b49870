"""Closed-form latency, throughput and energy, for our chips and for off-the-shelf accelerators alike."""
