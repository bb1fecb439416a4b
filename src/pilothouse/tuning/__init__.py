"""Hyperparameter tuning: which points to try, which trials to stop, when to end."""
