"""Run folders, published numbers, comparability, leaderboards and their renderers."""
