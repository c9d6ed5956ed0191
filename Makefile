# Thin: .ci/install.py and .ci/check.py do the work and need nothing but a Python.
.DEFAULT_GOAL := help
.PHONY: help demo install fmt lint types test test-all docs check bench bench-cuda bench-hooks bench-html bench-page
SHELL := /bin/sh
export HF_HUB_OFFLINE ?= 1

python := .venv/bin/python
at_once := --numprocesses auto --maxprocesses 4 --dist loadfile
install = @python=$$(sh .ci/find-python) && "$$python" .ci/install.py

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do printf '%-11s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'PYTHON=/path/to/python3 chooses the interpreter (3.11 or newer), TORCH=auto|cpu|cuda|system the torch (.ci/install.py)'

demo: ## install into .venv, probe a shipped model, then show two models side by side
	$(install) base
	.venv/bin/rankscope probe baseline
	.venv/bin/rankscope compare baseline vs lambda-skip

install: ## install into .venv
	$(install) base

fmt: ## format the code and mend what the linter can
	$(install) test
	$(python) -m ruff format .
	$(python) -m ruff check --fix .

lint: ## check format and lint
	$(install) test
	$(python) -m ruff format --check .
	$(python) -m ruff check .

types: ## check the types
	$(install) test
	$(python) -m mypy

test: ## install what the tests need and run them, without the model packages and the slow ones
	$(install) test
	$(python) -m pytest --quiet $(at_once)

test-all: ## run every test, with the model packages and the slow ones
	$(install) check
	$(python) -m pytest --quiet $(at_once) -m ''

docs: ## write the generated pages of docs/ and build the site into build/site
	$(install) test
	$(python) docs/generate.py
	$(python) docs/architectures.py
	$(python) docs/build.py

check: ## all that has to pass: format, lint, types, docs, doctests, tests; and how long each took
	@python=$$(sh .ci/find-python) && "$$python" .ci/check.py

bench: ## measure time, memory and accuracy beside a naive hook and the peers; ARGS=--assert fails on a miss
	$(install) bench
	$(python) -m benchmarks $(ARGS)

bench-cuda: ## the same on a CUDA device
	$(install) base
	$(python) -m benchmarks.cuda $(ARGS)

bench-hooks: ## measure what a probe of one model costs; ARGS='--model MODEL'
	$(install) base
	$(python) benchmarks/hook_overhead.py $(ARGS)

bench-page: ## write docs/performance.md from the latest of benchmarks/results/
	$(install) base
	$(python) -m benchmarks.page

bench-html: ## measure the size and the speed of the pages
	$(install) base
	$(python) benchmarks/html_page.py
