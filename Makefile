# Every target sets up what it needs: a virtual environment from the lock file, nothing outside this folder.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-llm demo-agent test check bench register up down lock clean

# Progress bars of downloads drown what a run has to say.
export MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR = false

DATASET ?= mnist-5k
AGENT ?= agent-sre

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Oppen needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	touch $@

setup: $(READY) ## the virtual environment, from the lock file

demo: $(READY) ## a real MNIST run: prepared, trained, evaluated, priced, registered, stored, verified
	$(BIN)/python -m operations.servers up
	$(BIN)/python -m operations.servers run -- \
	    $(BIN)/pyflyte run workflows/mnist.py mnist_pipeline --dataset $(DATASET)

demo-llm: $(READY) ## a small GPT-2, trained from scratch on offline text; perplexity before and after
	$(BIN)/python -m operations.servers up
	$(BIN)/python -m operations.servers run -- \
	    $(BIN)/pyflyte run workflows/language_model.py language_model_pipeline \
	    --source stdlib-topics --base_model small-gpt2 --model_name small-gpt2 --min_improvement 5 \
	    --block_size 128 --vocab_size 2048 --config '{"batch_size": 16, "finetune": {"steps": 200, "learning_rate": 0.003}}'

demo-agent: $(READY) ## an agent tuned from its runbook without a hub: base beside tuned, exported, published to git
	$(BIN)/python -m operations.servers up
	$(BIN)/python -m operations.servers run -- \
	    $(BIN)/pyflyte run workflows/agent.py agent_training_pipeline --agent_name $(AGENT) \
	    --model_name small-gemma --learning_rate 0.003 --batch_size 32 --iters 2000 \
	    --overrides '{"lora": {"rank": 64, "alpha": 128, "dropout": 0.1}, "eval_every": 100, "patience": 0}'

# Two workers, each with servers of its own; a file stays with one worker, so its fixtures are made once.
test: $(READY) ## all tests, unit and end to end, against real servers on loopback
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(READY) ## lint, format, types, import contracts, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

bench: $(READY) ## the measured claims, each beside its peer
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev,bench]'
	$(BIN)/python -m benchmarks

register: $(READY) ## register the checked-out commit on Flyte; ARGS=--dry-run needs no cluster
	$(BIN)/oppen register $(ARGS)

up: $(READY) ## start the local MLflow and S3 servers and leave them running
	$(BIN)/python -m operations.servers up

down: $(READY) ## stop the local servers; their data survives
	$(BIN)/python -m operations.servers down

lock: ## resolve requirements.lock anew from pyproject.toml
	test -x $(VENV)/uv/bin/uv || ($(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/pip install --quiet uv)
	$(VENV)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	    --no-emit-package oppen --custom-compile-command 'make lock' pyproject.toml -o requirements.lock

clean: ## remove caches and the virtual environment; data of the local servers stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
