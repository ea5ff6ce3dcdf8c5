# make demo, make test: each sets up what it needs. Only Python 3.11+ and make are assumed.

PYTHON ?= python3
VENV ?= .venv
# What `make lock` pins: a range would take the newest release with its CUDA packages.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Two OpenMP threads that spin beside another busy process cost both of them a factor of ten.
export GOMP_SPINCOUNT ?= 0
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check format lock quality fuzz clean audio-libraries

demo: $(READY)
	$(BIN)/python -m streamcodec_bench.demo --out demo

test: $(READY) audio-libraries
	$(MAKE) check
	$(BIN)/python -m pytest -q

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# PESQ and ESTOI of the shipped model on a folder of audio: make quality DATA=DIR
quality: $(READY)
	$(BIN)/pip install -q -c requirements.lock -e '.[quality]'
	$(BIN)/streamcodec bench quality --data $(DATA)

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("streamcodec needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(BIN)/pip install -q -c requirements.lock -e '.[dev]'
	@touch $@

# PortAudio and a null sound card for the device test. The tests that need them skip, with a reason, where they are not.
audio-libraries:
	@.ci/audio-libraries

# Renew the lock from what a fresh environment resolves to.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install -q $(TORCH)
	.venv-lock/bin/pip install -q -e '.[dev,peers]'
	.venv-lock/bin/pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

# Coverage-guided fuzzing of every reader of foreign bytes, for SECONDS.
SECONDS ?= 60
fuzz: $(READY)
	$(BIN)/pip install -q atheris
	$(BIN)/python tests/fuzz_payloads.py -max_total_time=$(SECONDS) -rss_limit_mb=1024

clean:
	rm -rf $(VENV) .venv-lock demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
