# Everything starts here. Each target prepares .venv by itself, from the lock files, and costs nothing when it is ready.
#   make demo            the whole story on a throw-away stack
#   make test            every check and every test, as CI runs them
# More arguments for a command go into ARGS:   make up ARGS="--port 9000 --workers 4"

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
READY := .venv/.ready
# An absolute path, because processes that the tests start in other folders write their measurements there too.
COVERAGE := COVERAGE_FILE="$(CURDIR)/.coverage-data/coverage"

.PHONY: help demo up down test check soak bench lock format static compose migrations clean FORCE

help: ## Show this list
	@printf 'Coatcheck: a durable task queue for AI jobs\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@printf '\n  More arguments go into ARGS:   make up ARGS="--port 9000"\n'

demo: $(READY) ## Run the whole story on a throw-away stack (about a minute)
	@exec $(BIN)/coatcheck demo $(ARGS)

up: $(READY) ## Start the one-machine stack; Ctrl-C stops it
	@exec $(BIN)/coatcheck up $(ARGS)

down: $(READY) ## Stop a stack that was started with --detach
	@exec $(BIN)/coatcheck down $(ARGS)

test: static ## Run every check and every test, and show the branch coverage
	@rm -rf .coverage-data && mkdir .coverage-data
	@status=0; \
	$(COVERAGE) $(BIN)/python -m coverage run -m pytest $(ARGS) || status=$$?; \
	$(COVERAGE) $(BIN)/python -m coverage combine --quiet && $(COVERAGE) $(BIN)/python -m coverage report || status=1; \
	exit $$status

check: static compose migrations ## Lint, types, import rules, compose file, migrations

soak: $(READY) ## Random faults under load, then every promise is checked (ARGS="--seconds 600 --seed 3")
	@exec $(BIN)/python -m tests.soak $(ARGS)

bench: $(READY) ## Measure against plain Celery, results as a table and JSON
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m bench $(ARGS)

format: $(READY) ## Put the code into its standard form
	@$(BIN)/python -m ruff check --fix-only --quiet .
	@$(BIN)/python -m ruff format .

static: $(READY)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy .
	@$(BIN)/lint-imports

compose: $(READY)
	@$(BIN)/python -m pytest --quiet tests/unit/deploy

migrations: $(READY)
	@$(BIN)/python -m pytest --quiet -m migrations tests/integration

# The locks hold for every supported Python and platform. Pins stay as they are unless UPGRADE=1 is given.
COMPILE = env PATH="$(CURDIR)/$(BIN):$$PATH" UV_SYSTEM_CERTS=1 uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-build --no-annotate --custom-compile-command "make lock" \
	$(if $(UPGRADE),--upgrade)

lock: $(READY) ## Write the lock files anew after a change in pyproject.toml (UPGRADE=1: newest releases)
	@$(COMPILE) --group bootstrap --output-file requirements/bootstrap.txt
	@$(COMPILE) pyproject.toml --all-extras --group build --group dev --output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml --group build --constraint requirements/dev.txt --output-file requirements/runtime.txt
	@printf 'requirements: %s\n' "$$(grep -c == requirements/bootstrap.txt requirements/runtime.txt requirements/dev.txt | tr '\n' ' ')"

clean: ## Remove .venv, caches and measurements; a stack's data stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage-data build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds the path that the environment was made for: a copied or moved tree makes its own.
ifneq ($(shell cat $(READY) 2>/dev/null),$(realpath $(CURDIR))/.venv)
$(READY): FORCE
endif
$(READY): requirements/dev.txt requirements/bootstrap.txt requirements/prepare-venv.sh pyproject.toml
	@sh requirements/prepare-venv.sh .venv dev
