"""Checks a YAML file of `ray up` for what Ray accepts and what then costs money or opens a door.

Offers `check`.
"""
