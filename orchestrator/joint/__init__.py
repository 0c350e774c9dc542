"""A sweep over several data sets: a whole sweep for each, one after the other.

`launch` runs and resumes them, `plan` and `status` show all of them, `sweep` says which parts there
are and what each is, `budget` what they may still cost, and `transfer` scores each data set's
winner on the others. `handle` is the Python API, also of sweeps on one data set. It offers
`handle`, `launch`, `plan` and `status`.
"""
