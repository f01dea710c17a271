# What can be done here. Each target brings .venv up to date first (tools/environment.py),
# which takes no time when nothing changed.
PYTHON ?= python3
RUN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts/python.exe,.venv/bin/python)
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help environment book test test-quick test-processors test-gpu test-colab conformance bench lab data lint outputs address screenshots clean distclean

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' Makefile | awk -F '  ' '{printf "  make %-16s %s\n", $$1, $$2}'

book: environment  ## build the site into _build/html; warnings are errors
	@echo "book: building the site into _build/html"
	@$(RUN) -m tools.book

test: environment  ## style, types, imports, unit and browser tests, and the notebooks again
	@$(RUN) -m tools.check

test-quick: environment  ## style, types, and the tests of the formulas; under 2 minutes
	@$(RUN) -m tools.check style types imports quick

test-processors: environment  ## the numerical tests as on other processors; half an hour and more
	@$(RUN) -m tools.processors

test-gpu: environment  ## only the tests that need a GPU; they skip without one
	@$(RUN) -m pytest tests/pytorch/test_gpu.py tests/kernels/test_triton_gpu.py

test-colab: environment  ## each notebook alone, laid out as on Colab; takes minutes and up to 6 GB
	@BN_COLAB=1 $(RUN) -m pytest -s tests/colab

conformance: environment  ## every suite, every planted bug, the accuracy table; takes minutes
	@$(RUN) -m tools.conformance

bench: environment  ## how fast it is here, beside what else there is; 6 minutes on a quiet machine
	@echo "bench: measuring; leave the machine alone meanwhile"
	@$(RUN) -m bn bench

lab: environment  ## open the notebooks in JupyterLab
	@echo "lab: JupyterLab on notebooks/ (stop it with Ctrl-C)"
	@$(RUN) -m jupyterlab notebooks

data: environment  ## fetch and verify MNIST and CIFAR-10
	@echo "data: fetching what is missing, verifying all"
	@$(RUN) -m bn data

lint: environment  ## only the checks of style, types and imports
	@$(RUN) -m tools.check style types imports

outputs: environment  ## run the notebooks and store their outputs (NOTEBOOK=path for one)
	@echo "outputs: running the notebooks in place"
	@$(RUN) -m tools.notebooks execute $(NOTEBOOK)

address: environment  ## write the repository's address everywhere: REPOSITORY=owner/name
	@$(RUN) -m tools.address $(if $(filter undefined,$(origin REPOSITORY)),,"$(REPOSITORY)")

screenshots: environment  ## every page, wide and narrow, light and dark, into _build
	@echo "screenshots: every page into _build/screenshots"
	@$(RUN) -m tools.screenshots

clean:  ## remove what was built, and the tools' caches
	@echo "clean: removing _build and caches"
	@rm -rf _build book/_generated .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find bn book notebooks tests tools -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	@echo "distclean: removing .venv"
	@rm -rf .venv *.egg-info

environment:
	@$(PYTHON) tools/environment.py
