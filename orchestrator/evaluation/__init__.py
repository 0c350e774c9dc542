"""Scores models on splits of stores, and says which differences are real.

`subjects` finds what is scored (a model by its name, a released checkpoint, frozen features) and
says whether it fits a store, `scores` measures one subject on one split, `matrix` all on all,
`document` makes tables and `runs` MLflow's runs of that. It offers all five.
"""
