"""Readers of the feature layouts that users have, each into a feature store.

Offers `msc`.
"""
