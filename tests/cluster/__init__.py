"""Tests of what runs a sweep on a cluster: its files, and the agent that drains nodes."""
