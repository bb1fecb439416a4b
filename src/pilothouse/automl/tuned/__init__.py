"""The training of a job in hyperparameter tuning mode: pipelines, a search over all of them, and its trials."""
