"""Tabular models as ONNX graphs, for programs that have no Pilothouse."""
