"""Sweeps of trials over `prvr_model`: search spaces, Ray, Optuna, MLflow and the command line."""
