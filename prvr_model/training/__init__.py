"""Trains one trial: loop, optimizer, checkpoints, and a probe that times the step.

Offers `train_loop`, `checkpoint`, `finished_trial` (a result that another trial copies),
`devices`, and `probe` with its `probe_messages`.
"""
