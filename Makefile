# Every target makes .venv and installs what it needs; nothing is done again while pyproject.toml and
# constraints.txt stay as they are. `make help` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
DEMO := examples/procedure-coding
WORKERS ?= 2
PYTHON ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format model browser clean
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

setup: $(VENV)/.dev ## .venv with Burnish and the tools for working on it
	@echo "ready: . $(BIN)/activate (or $(BIN)/burnish --help)"

demo: $(VENV)/.run ## the demo: prepare its data, run it, show the verdict and where the report is
	@$(BIN)/python $(DEMO)/prepare.py
	@$(BIN)/python -m burnish run $(DEMO); status=$$?; \
	report=$$(ls -td runs/procedure-coding-*/report.html 2>/dev/null | head -n 1); \
	case $$status in \
		0) echo "verdict: ship" ;; \
		3) echo "verdict: hold (exit status 3): the run is complete, the report says why" ;; \
		*) echo "the run did not finish (exit status $$status)" ;; \
	esac; \
	case $$status in 0|3) [ -z "$$report" ] || echo "report: $(CURDIR)/$$report" ;; esac; \
	exit $$status

test: lint model browser ## lint, then all tests (ARGS: arguments of pytest; WORKERS: processes, 2)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
		$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.dev ## ruff, and mypy on src and benchmarks, as continuous integration runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

format: $(VENV)/.dev ## write the code as `make lint` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and the tools' caches; runs/ and the model cache stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Once before the tests, which run in several processes: the starter model is downloaded and converted.
model: $(VENV)/.dev
	@$(BIN)/python -c "from burnish.models.load import load_model; load_model('smollm2-135m-instruct')"

# The tests that look at a report in a browser need chromium; without it they are skipped, with that reason.
browser:
	@if [ -n "$$CHROMIUM" ] || command -v chromium >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "installing chromium (once)"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends chromium; } \
			>/dev/null 2>&1 || echo "chromium cannot be installed here: the browser tests are skipped"; \
	else echo "no chromium here: the browser tests are skipped"; fi

# A usable .venv is kept, a broken one made again. PYTHON names the interpreter; else the first that fits is taken.
$(VENV)/.made:
	@fits='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	if $(BIN)/python -c "$$fits" 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	for name in $(PYTHON) $(if $(PYTHON),,python3 python3.13 python3.12 python3.11 python); do \
		if "$$name" -c "$$fits" 2>/dev/null; then \
			echo "making $(VENV) with $$name ($$("$$name" --version))"; \
			"$$name" -m venv --clear $(VENV) && touch $@; exit $$?; \
		fi; \
	done; \
	echo "Burnish needs Python 3.11, 3.12 or 3.13 with its venv module; $(if $(PYTHON),$(PYTHON) is not one,none was found)." >&2; \
	echo "  fix: install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make setup PYTHON=python3.12" >&2; \
	exit 1

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "installing Burnish and what it needs into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "installing Burnish and its development tools into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.run $@
