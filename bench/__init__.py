"""Benchmarks of Schuss against its peers: ``python bench/run.py`` or ``schuss bench``."""
