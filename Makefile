# make repro   set-up, demo, report        make test   set-up, all tests        make lint   style and types
# make ui      the MLflow UI               make live   the best generator in a page, to play with (needs npm)
# make setup   .venv with requirements.lock, what running needs; make setup-dev adds what tests and lint need
# make bench   every claim about speed, measured on this machine; under 20 minutes on two idle cores
# make soak    the fault tests and the simulations of verdicts at length: hours
# make test-fast      the unit tests, in under a minute
# make docs           the documents as a site, in build/docs
# make test-oldest    the tests of networks and training, with the oldest packages that pyproject.toml allows
# make lock    new requirements.lock and requirements-dev.lock from pyproject.toml

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
# Tests that start no process, or few.
FAST := $(addprefix tests/,adversary networks sampling verdicts lineage params evaluation/metrics)
# Stage commands are `python src/ganealogy …`: the environment's python must come first.
RUN := env PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYTHONPATH=src

.PHONY: repro test test-fast docs test-oldest soak lint ui live bench setup setup-dev lock clean

repro: setup
	@git rev-parse --git-dir >/dev/null 2>&1 || git init -q
	@$(RUN) python -m ganealogy doctor --fix
	$(RUN) python -m ganealogy repro
	@$(RUN) python -m ganealogy summary

test: setup-dev
	$(RUN) python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-fast: setup-dev
	$(RUN) python -m pytest -n 2 --dist loadfile -m 'not soak and not slow' $(FAST) $(PYTEST_ARGS)

docs: setup-dev
	$(RUN) python -m sphinx -W --keep-going -q -b html docs build/docs

# Old packages next to newer ones give many deprecation warnings that nothing here can fix. PYTEST_ARGS=tests/evaluation
# adds tests that take longer than all of these.
test-oldest: $(OLDEST)/.ready
	env PATH="$(CURDIR)/$(OLDEST)/bin:$$PATH" PYTHONPATH=src python -m pytest -n 2 --dist loadfile \
		-W ignore::DeprecationWarning tests/adversary tests/networks tests/training $(PYTEST_ARGS)

# Kills and resumes every version, kills `dvc repro` in every stage, runs 500 trainings, reads thousands of damaged files,
# simulates a thousand kinds of tree.
soak: setup-dev
	$(RUN) GANEALOGY_SOAK=1 python -m pytest -m "" --timeout 0 tests/faults tests/verdicts $(PYTEST_ARGS)

lint: setup-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

ui: setup
	$(RUN) python -m ganealogy ui

live: $(VENV)/.ready-live
	$(RUN) python -m ganealogy live

# One at a time, because benchmarks slow each other down. The two that are left out measure no speed and take a path.
bench: setup-dev
	@for script in $(filter-out benchmarks/health.py benchmarks/judge.py,$(wildcard benchmarks/*.py)); do \
		$(RUN) python "$$script" --json "build/benchmarks/$$(basename "$$script" .py).json" $(BENCH_ARGS) || exit; \
	done

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

UV := "$(VENV)/bin/python" -m uv
INSTALL := $(UV) pip install --python "$(VENV)/bin/python" --compile-bytecode
# Its build tool, in an environment of its own, is that of the lock too.
INSTALL_THIS := $(INSTALL) --quiet --no-deps --build-constraints requirements-dev.lock --editable .

# Removes nothing: the packages of the other set-ups, and those that you installed, stay. Bytecode is compiled here
# because some machines forbid it later, and then importing torch takes twice as long.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ganealogy needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	@test -x "$(VENV)/bin/python" || $(PYTHON) -m venv "$(VENV)"
	"$(VENV)/bin/python" -m pip install --quiet --disable-pip-version-check uv
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL_THIS)
	@touch "$@"

# Tests run with the lock's packages and no others: `uv pip sync` removes the rest, the project itself too.
$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	$(UV) pip sync --python "$(VENV)/bin/python" --compile-bytecode --require-hashes requirements-dev.lock
	$(INSTALL_THIS)
	@touch "$@"

# The extra `live` with the versions and hashes of the lock.
$(VENV)/.ready-live: requirements-dev.lock $(VENV)/.ready
	$(INSTALL) --require-hashes -r pyproject.toml --extra live -c requirements-dev.lock
	@touch "$@"

# Not in a lock: pyproject.toml's lower bounds set these versions. Old source packages may not build, hence only wheels.
$(OLDEST)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear "$(OLDEST)"
	"$(OLDEST)/bin/python" -m pip install --quiet --disable-pip-version-check uv
	"$(OLDEST)/bin/python" -m uv pip install --python "$(OLDEST)/bin/python" --quiet --resolution lowest-direct --only-binary :all: --editable '.[dev]'
	@touch "$@"

COMPILE := $(UV) pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --quiet

# uv keeps the versions of a lock that exists, so the running lock starts as a copy of the other and loses packages.
lock:
	$(VENV)/bin/python -m pip install --quiet uv
	$(COMPILE) --extra dev --extra kaggle -o requirements-dev.lock
	cp requirements-dev.lock requirements.lock
	$(COMPILE) -o requirements.lock

# Not build/weights: it may contain weights that you put there.
clean:
	@test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name weights -exec rm -rf {} +
	rm -rf data/raw data/packed data/reference reports/index.html reports/report.md reports/report reports/fd.csv reports/d_loss.csv reports/g_loss.csv reports/metrics.json reports/all-metrics.json reports/samples reports/progress reports/live reports/live.html reports/compare.html
