"""Instructions of the sequencer itself: scalar arithmetic, control, exchange with the host."""
