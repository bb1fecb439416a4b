"""Data processing pipelines: ways to turn features into one matrix of numbers, each meant for one algorithm."""
