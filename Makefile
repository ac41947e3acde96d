# Everything runs in .venv, which the first target that needs it makes from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint bench docs lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps -e .
	touch $@

demo: $(READY)  ## separate the bundled examples, and show where to look
	$(BIN)/basis demo --out demo

test: $(READY)  ## run the fast tests, doctests and documentation (under 5 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(READY)  ## run all tests, the slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY)  ## check format, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## measure speed and memory of a Langevin step
	$(BIN)/python benchmarks/step.py

docs: $(READY)  ## build the documentation site; look at site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock:  ## renew requirements.lock (needs pip-tools)
	pip-compile -q --strip-extras --no-header --no-emit-find-links --no-emit-index-url --annotation-style=line \
		-o - requirements.in | sed -E 's/^(torch==[0-9.]+)\+cpu/\1/; /^(basis-separation|#)/d' > requirements.lock

clean:  ## remove what was built
	rm -rf .venv build demo site out
