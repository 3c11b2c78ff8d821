# `make help` lists the targets. Everything is installed into .venv, from the hash-locked files only.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# With two threads, BLAS is slower for vectors of this size, and a server's requests wait for each other.
export OPENBLAS_NUM_THREADS := 1

# Where an environment forbids bytecode, each process of the tests would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

# Half as many again as there are processors, because tests also wait for servers.
TESTERS := $(shell echo $$(($$(nproc) * 3 / 2)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-spark test-kubernetes format build image lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/requirements.installed ## make the sample shop, train a model on it, serve it on http://127.0.0.1:8080
	@$(BIN)/als-serve demo

# Beside mypy, which has one thread, pytest rewrites the assertions of all tests; each tester would do so for itself.
test: $(VENV)/requirements-dev.installed $(VENV)/typescript/node_modules/.package-lock.json ## lint, check the types, run every test with branch coverage
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pytest --collect-only --quiet >/dev/null & $(BIN)/mypy && wait
	$(BIN)/pytest --cov --cov-report=term --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

test-spark: $(VENV)/spark.installed ## run the jobs of ops/spark on a real cluster (Java 17, 3 GB, four minutes)
	@java -version 2>/dev/null || { echo "❌ Spark needs Java: apt-get install openjdk-17-jre-headless" >&2; exit 1; }
	$(BIN)/pytest -m cluster tests/ops/test_spark_cluster.py

test-kubernetes: $(VENV)/requirements-dev.installed ## restart a fleet under load on the cluster of kubectl's current context
	PATH="$(abspath $(BIN)):$$PATH" ops/kubernetes/proof/prove.sh

format: $(VENV)/requirements-dev.installed ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The wheel is built from the sdist in a temporary directory: leftovers of an earlier build here would be packed again.
# auditwheel finds the oldest systems that can load the library, and names the wheel after them.
build: $(VENV)/requirements-dev.installed ## build the wheel and the sdist in dist/
	rm -rf dist build *.egg-info
	$(BIN)/python -c 'from setuptools import build_meta; build_meta.build_sdist("dist")' >/dev/null
	$(PIP) wheel --no-deps --no-index --no-build-isolation --wheel-dir build/wheel dist/*.tar.gz
	PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --wheel-dir dist build/wheel/*.whl 2>build/auditwheel.log || \
		{ cat build/auditwheel.log >&2; echo "❌ The wheel is not one for all of Linux. Where it has no library," \
		"install a C compiler: apt-get install gcc libc6-dev" >&2; exit 1; }
	@ls dist/*

image: ## build the image als-serve:VERSION, with the version and the commit as labels
	docker build --label org.opencontainers.image.version=$(VERSION) \
		--label org.opencontainers.image.revision=$(shell git rev-parse HEAD) --tag als-serve:$(VERSION) .

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' service/__init__.py)

# The oldest supported Python compiles the locks: it needs every package that newer ones need, and its first releases
# (Debian 12 has 3.11.2) reject some versions that later ones accept; tests/ops/test_lock.py checks this.
lock: $(VENV)/created ## update the lock files after a change in pyproject.toml (UPGRADE=1: upgrade everything)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "❌ Locks are compiled by Python 3.11: make clean, then make lock PYTHON=python3.11" >&2; exit 1; }
	$(BIN)/python -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip --disable-pip-version-check --quiet install pip-tools==7.6.2
	$(PIP_COMPILE) $(BUILDING) --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) $(BUILDING) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	$(PIP_COMPILE) --constraint requirements-dev.lock --output-file ops/spark/requirements.lock ops/spark/requirements.in

PIP_COMPILE = $(VENV)/lock/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	$(if $(UPGRADE),--upgrade)
BUILDING := --build-deps-for editable

# A directory of its own, so that no other test has Spark's packages, or others in their place.
$(VENV)/spark.installed: ops/spark/requirements.lock $(VENV)/requirements-dev.installed
	@echo "📦 Installing from $< into $(VENV)/spark (once; about a minute)..."
	rm -rf $(VENV)/spark
	$(PIP) install --no-deps --require-hashes --no-build-isolation --target $(VENV)/spark --requirement $<
	@touch $@

# npm writes the file that is the target when it has installed all that is locked.
$(VENV)/typescript/node_modules/.package-lock.json: tests/support/typescript/package-lock.json $(VENV)/requirements-dev.installed
	@mkdir -p $(VENV)/typescript
	cp $(<D)/package.json $(<D)/package-lock.json $(VENV)/typescript
	PATH="$(abspath $(BIN)):$$PATH" npm --prefix $(VENV)/typescript ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

clean: ## remove everything that can be rebuilt
	rm -rf $(VENV) demo-shop build dist *.egg-info service/model/scoring/*.so .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find service tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "❌ als-serve needs Python 3.11 or newer, and '$(PYTHON)' is not. Name one that is:" \
		"make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The lock is complete, so nothing is resolved: pip would otherwise consider newer releases of packages with extras.
$(VENV)/%.installed: %.lock $(VENV)/created setup.py service/model/scoring/scan.c
	@echo "📦 Installing from $< into $(VENV) (once; about a minute)..."
	$(PIP) install --no-deps --require-hashes --requirement $<
	$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import implicit.cpu.topk' || \
		{ echo "❌ implicit does not load. If the line above names libgomp.so.1, install the OpenMP runtime:" \
		"apt-get install libgomp1 (Debian, Ubuntu) or dnf install libgomp (Fedora)" >&2; exit 1; }
	@touch $@
