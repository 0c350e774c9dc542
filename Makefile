# Entry points of the project: each sets up what it needs first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup sweep demo lint test soak check gpu-check wheel clean

setup: $(STAMP)

# Made again when the project's files say something else than what was installed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m prvr_model.training.warm_up
	@touch $(STAMP)

sweep: $(STAMP)
	$(BIN)/prvr-sweep launch search_spaces/cbva.yaml

# From pixels to a champion: four clips, a tiny encoder, two epochs. Begins anew each time.
DEMO := prvr-demo
demo: $(STAMP)
	rm -rf $(DEMO)
	$(BIN)/python -m tests.demonstration $(DEMO)
	$(BIN)/prvr-sweep data extract --videos $(DEMO)/videos --captions $(DEMO)/captions.jsonl \
		--encoder $(DEMO)/tiny-clip $(DEMO)/clips.store
	$(BIN)/prvr-sweep launch --home $(DEMO)/runs $(DEMO)/sweep.yaml

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Few processes whatever the machine: many tests start a Ray that takes all of its CPUs, and more so
# in the soak.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	$(PYTEST) --numprocesses 3

# The tests that take minutes.
soak: $(STAMP)
	$(PYTEST) --numprocesses 2 -m soak --durations=0 --durations-min=1

check: lint test

# What only a GPU can show; exits with 3 where there is none.
gpu-check: $(STAMP)
	$(BIN)/python -m tests.gpu_check --json

# What cluster/*.yaml copy to the nodes. Without the old build folder, whose files would come along.
wheel: $(STAMP)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	cp constraints.txt dist/
	rm -rf build

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
