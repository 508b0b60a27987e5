"""Executors: compiled loops that run a tape forwards and backwards."""
