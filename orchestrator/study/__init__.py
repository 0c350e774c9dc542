"""The Optuna study of a sweep: which trials were drawn, what they reported and how they ended.

Every other record of trials follows the study.

Offers `study` (writes; the driver alone does), `reader`, `history` (metrics of epochs, joined),
`work` and `money` (the time that trials took, and its price), `tables`, `searcher` with `samplers`
and `pruners`, `goals` (several objectives and limits) and the `front` that came of them,
`earlier_trials`, `planned_trials`, `trial`, `epoch_log` and `work_record` (their records),
`content_key`, `reuse` of results, `confirmation`, `outcomes`, `joint_record` (which sweeps are
parts of one), `test_scores`, `moment_scores`, `frozen_ranks` (the yardstick), `failures`,
`importance`, and `storage` (databases and their errors).
"""
