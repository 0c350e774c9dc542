"""The YAML file of a sweep, checked: every mistake at once, with its line and the nearest name.

Offers `sweep_spec` and its parts (`sections`, `parameters`, `conditions`, `start`, `ablation`,
`data`, `prices`, `objectives`), `joint` (several data sets), `loading`, `overrides` (of the command
line), `quick_run`, `search_space` (from parameters to settings), `changes` between two specs,
`warnings`, `problems` and `setting_schema`.
"""
