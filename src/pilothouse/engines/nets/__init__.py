"""Tabular networks: how rows become their inputs, how they are kept, and how they predict in NumPy."""
