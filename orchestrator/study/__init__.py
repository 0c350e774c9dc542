"""The Optuna study of a sweep: what was asked, told and chosen. It is the truth about trials.

Offers `study` (writes; the driver alone does), `reader`, `history` (metrics of epochs, joined),
`tables`, `searcher` with `samplers` and `pruners`, `planned_trials`, `trial` and `epoch_log` (their
records), `content_key`, `reuse` of results, `confirmation`, `outcomes` and `test_scores`,
`failures`, `importance`, and `storage` (databases and their faults).
"""
