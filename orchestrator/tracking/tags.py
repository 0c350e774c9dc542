"""Names of the tags on MLflow's runs and model versions.

Our tags begin with `prvr.`, which tells them from others. Tags that a user types into MLflow's
search box are short.
"""

SWEEP_TAG = "prvr.sweep"
SWEEP_ID_TAG = "prvr.sweep_id"
ROLE_TAG = "prvr.role"
TRIAL_TAG = "prvr.trial"
KEY_TAG = "prvr.trial_key"
SEED_TAG = "prvr.seed"
STATE_TAG = "prvr.state"
FAILURE_TAG = "prvr.failure"
BEST_TRIAL_TAG = "prvr.best_trial"
FRONT_TAG = "prvr.front"
"""Of a run whose trial no other one beats: `member`, or `knee`; `no` if it was one before."""
OVER_LIMIT_TAG = "prvr.over_limit"
"""Of a run whose trial exceeds a limit of cost: which one, in words."""
REGISTERED_TAG = "prvr.registered"
"""Registered versions of a run's model, best first: `MODEL/VERSION, ...`."""

VARIANT_TAG = "variant"
PROTOCOL_TAG = "protocol"
MOVES_TAG = "moves"
SHORT_SEED_TAG = "seed"
ORIGIN_TAGS = (VARIANT_TAG, "block", "confirms", "taken_from")

JOINT_TAG = "prvr.joint"
"""Of a sweep's own run: the sweep over several data sets that it is a part of."""

# Tags of a model version.
VALUE_TAG = "prvr.value"
METRIC_TAG = "prvr.metric"
DIRECTION_TAG = "prvr.direction"
VERSION_PROTOCOL_TAG = "prvr.protocol"
FINGERPRINT_TAG = "prvr.data_fingerprint"
TEST_TAG = "prvr.test"
DECIDED_TAG = "prvr.decided"

# Tags that MLflow's pages read.
NOTE_TAG = "mlflow.note.content"
TABLES_TAG = "mlflow.loggedArtifacts"
USER_TAG = "mlflow.user"
PARENT_TAG = "mlflow.parentRunId"
MODEL_VERSIONS_TAG = "mlflow.modelVersions"
