"""Faults that a sweep must survive, each caused."""
