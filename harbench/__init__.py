"""harbench: official splits, frame caches, one recipe runner and honest leaderboards for human action recognition."""

__version__ = "0.1.0"
