"""The parts of `benchmarks/tuning.py`."""
