"""The version of this package's numbers."""

# Raised by one whenever the same settings, data and seed give other numbers than before: it is
# part of every trial's content key, so that old results are never taken for new ones.
# 2: the mixing token starts from N(0, 1), as released; it started from N(0, 0.02).
# 3: dropout draws by place, not one after the other.
RESULTS_VERSION = 3
