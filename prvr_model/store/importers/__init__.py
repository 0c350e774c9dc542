"""Readers of the feature layouts that users have, each into a feature store.

Offers `msc`, `corpus` (what a user chooses about an import, and what it tells) and `annotating`
(files of moments, lengths and verified labels).
"""
