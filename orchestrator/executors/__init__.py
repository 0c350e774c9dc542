"""Runs trials: in this process, on Ray Tune, in groups of workers (Ray Train with DDP).

Offers `executor` (the interface, whose contract is a test class), `inline_executor`,
`tune_executor`, `ray_session` (a Ray of our own, or attached), `interruption` (Ctrl-C), `retries`
(trials that run again) and `cluster_extraction`, which makes features on Ray Data.
"""
