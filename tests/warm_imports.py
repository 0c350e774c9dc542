"""What the product's commands import; imported once by the server of `warm_process`."""

from importlib import import_module

from orchestrator.tracking.store import settle_mlflow

# MLflow reads its settings when it is imported.
settle_mlflow()

# What commands import when they need it, and what torch and MLflow import at their first use.
for _name in (
    "matplotlib.backends.backend_svg",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "orchestrator.commands.launch",
    "orchestrator.executors.tune_executor",
    "orchestrator.commands.plan_text",
    "orchestrator.report.publishing",
    "orchestrator.sweep.launch",
    "orchestrator.sweep.reproduce",
    "orchestrator.sweep.resume",
    "orchestrator.tracking.registry",
    "orchestrator.tracking.writer",
    "prvr_model.network.model_file",
    "prvr_model.training.train_loop",
    "tests.killed_sweep",
    "torch._dynamo",
):
    import_module(_name)
