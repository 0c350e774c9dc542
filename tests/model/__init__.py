"""Tests of the model, its losses and its training loop."""
