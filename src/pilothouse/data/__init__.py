"""Tables in, features out: reading, typing, splitting and encoding columns. Knows nothing of jobs or models."""
