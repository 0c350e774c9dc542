"""Checks a YAML file for `ray up` for mistakes that Ray accepts but that cost money or open ports.

Offers `check`.
"""
