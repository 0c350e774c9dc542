"""Which machines there are, what fits on them, and how to reach a running Ray cluster.

Offers `capacity` (nodes and packing), `fitting` (refuses what can never fit), `client` (a cluster
seen from outside), `attached_process` (this process as its driver), `node_check` (do the nodes
have the data?), `autoscaler` (nodes to come), `job_server` (Ray jobs), `drain_agent` with
`spot_notices`, `ray_environment` (variables that Ray takes over) and `file`, which checks the YAML
of `ray up`.
"""
