"""Readers of the feature layouts that users have, each into a feature store.

Offers `msc` and `corpus` (what a user chooses about an import, and what it tells).
"""
