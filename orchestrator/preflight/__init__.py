"""What is checked before a sweep starts; nothing here starts one.

`plan` says which trials will run, whether they fit and how long they take, from the sizes alone or
from a probe. `doctor` checks the machine, the locations, the databases and the cluster, and says
what to do about each problem.

Offers `plan` with its `epoch_band`, `plan_limits` and `plan_money`, `estimate` (what a trial
needs), `already_trained` and `doctor`.
"""
