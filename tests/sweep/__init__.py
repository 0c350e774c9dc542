"""Tests of the sweep: study, searcher, executors."""
