"""The fit loop: optimizer, schedule, checkpoint and exact resume."""
