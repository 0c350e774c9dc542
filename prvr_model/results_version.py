"""The version of this package's numbers."""

# Raised by one whenever the same settings, data and seed give other numbers than before: it is
# part of every trial's content key, so that old results are never taken for new ones.
RESULTS_VERSION = 1
