"""The fit loop: optimiser, schedule, checkpoint and exact resume."""
