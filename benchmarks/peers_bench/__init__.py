"""The parts of `peers.py`: data sets, tools, their environments, one measured run, and the table."""
