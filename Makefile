# `make demo` and `make test` set up what they need. Only Python 3.11+ and make are assumed.

PYTHON ?= python3
VENV ?= .venv
# What `make lock` pins: a range would take the newest release, with CUDA.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# OpenMP threads that wait by spinning slow down every other busy process on the same cores: a
# factor of ten was measured with two threads beside one other process.
export GOMP_SPINCOUNT ?= 0
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check format lock quality wheels web fuzz fuzz-native clean audio-libraries browser

demo: $(READY)
	$(BIN)/python -m streamcodec_bench.demo --out demo

# Prints the branch coverage of streamcodec/ and fails below 95 %.
test: $(READY) audio-libraries browser
	$(MAKE) check
	$(BIN)/python -m pytest -q --cov=streamcodec --cov-fail-under=95

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Quality of the shipped model on a folder of audio: make quality DATA=DIR
quality: $(READY)
	$(BIN)/pip install -q -c requirements.lock -e '.[quality]'
	$(BIN)/streamcodec bench quality --data $(DATA)

# What a release consists of, into dist/: a wheel for each system, the weights, the WebAssembly
# module. The compiler is Zig (411 MB, installed here), so any machine builds all of them.
TARGETS := x86_64-linux-gnu.2.28 aarch64-linux-gnu.2.28 aarch64-macos.11.0 x86_64-macos.10.15 \
	x86_64-windows-gnu
BUILD_WHEEL := $(BIN)/python -m build --wheel --no-isolation --outdir dist
wheels: $(READY)
	$(BIN)/pip install -q -c requirements.lock -e '.[wheels]'
	for target in $(TARGETS); do STREAMCODEC_TARGET=$$target $(BUILD_WHEEL) . || exit 1; done
	$(BUILD_WHEEL) models/voice-16k
	$(BIN)/python native/build.py --target wasm32-wasi --out dist/streamcodec.wasm
	ls -l dist

# The page that `streamcodec serve --web` gives out, into server/streamcodec_server/page, where it is
# committed. Needs Node and npm; Zig is installed here. Browsers have had simd128 since 2023.
web: $(READY)
	$(BIN)/pip install -q -c requirements.lock -e '.[wheels]'
	cd web && npm ci --silent && npm run --silent check && npm run --silent build
	$(BIN)/python native/build.py --target wasm32-wasi --only simd128 \
	  --out server/streamcodec_server/page/streamcodec.wasm

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("streamcodec needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(BIN)/pip install -q -c requirements.lock -e '.[dev]'
	@touch $@

# PortAudio and a null sound card for the test of sound devices. Where they cannot be installed, the
# tests that need them are skipped and say why.
audio-libraries:
	@.ci/audio-libraries

# Chromium, for the tests of the page.
browser:
	@.ci/browser

# Renew requirements.lock from what a fresh environment resolves to.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install -q $(TORCH)
	.venv-lock/bin/pip install -q -e '.[dev,peers,wheels]'
	.venv-lock/bin/pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

# Coverage-guided fuzzing, for SECONDS, of every parser of bytes from outside.
SECONDS ?= 60
fuzz: $(READY)
	$(BIN)/pip install -q atheris
	$(BIN)/python tests/fuzz_payloads.py -max_total_time=$(SECONDS) -rss_limit_mb=1024

# The native library under address and undefined sanitizers: COUNT foreign payloads, extreme values,
# batches and single streams in every precision, and damaged heads of packed weights. All of it takes
# 10 minutes of CPU.
COUNT ?= 10000000
FUZZ := build/fuzz
fuzz-native: $(READY)
	$(BIN)/python tests/fuzz_inputs.py $(FUZZ)
	$(BIN)/python native/build.py --sanitize --program native/check/fuzz.c --out $(FUZZ)/fuzz
	for model in shipped small; do \
	  for precision in mixed exact float32; do \
	    packed=$(FUZZ)/$$model.$$precision.native; \
	    $(FUZZ)/fuzz batches $$packed $(FUZZ)/speech.f32 8 || exit 1; \
	    $(FUZZ)/fuzz extremes $(FUZZ)/$$model.tables $$packed 1000 1 || exit 1; \
	    $(FUZZ)/fuzz coder $(FUZZ)/$$model.tables $$packed $(FUZZ)/speech.f32 500 1 || exit 1; \
	  done; \
	done
	$(FUZZ)/fuzz headers $(FUZZ)/shipped.mixed.native 100000 1
	$(FUZZ)/fuzz highband $(FUZZ)/shipped.highband 20000 1
	$(FUZZ)/fuzz payloads $(FUZZ)/small.tables $(FUZZ)/small.mixed.native $(FUZZ)/speech.f32 100000 1
	$(FUZZ)/fuzz joint $(FUZZ)/shipped.tables $(FUZZ)/shipped.joint $(FUZZ)/shipped.mixed.native $(FUZZ)/speech.f32 1000000 1
	$(FUZZ)/fuzz payloads $(FUZZ)/shipped.tables $(FUZZ)/shipped.mixed.native $(FUZZ)/speech.f32 $(COUNT) 1

clean:
	rm -rf $(VENV) .venv-lock demo build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
