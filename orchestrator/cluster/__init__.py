"""Which machines there are, what fits on them, and how to reach a running Ray cluster.

Offers `capacity` (nodes and packing), `fitting` (refuses what can never fit), `client` (asks a
cluster from another process), `attached_process` (this process as a driver), `node_check` (do the
nodes have data and storage?), `machine_kinds` (what has a price), `autoscaler` (nodes that may
still start), `job_server` (Ray jobs), `drain_agent` with `spot_notices`, `ray_environment`
(environment variables for Ray) and `file`, which checks the YAML of `ray up`.
"""
