# make demo   the whole chain on data the package brings, from nothing but Python
# make gpu-check   everything that runs on a GPU, once, on a machine with one
# make docs   the documentation as a site: site/index.html
# make test   format, lint, types, tests, and the device's half in an environment without PyTorch
PYTHON ?= python3
VENV := .venv
DEVICE := .venv-device
PIP := -m pip install --quiet --disable-pip-version-check

.PHONY: demo docs gpu-check test check device-test clean

demo: $(VENV)/.host
	$(VENV)/bin/edge-tl demo --out demo

gpu-check: $(VENV)/.host
	$(VENV)/bin/python benchmarks/gpu_check.py

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

# Both environments at the same time: most of an installation waits for disk and network.
test:
	$(MAKE) -j2 $(VENV)/.dev $(DEVICE)/.device
	$(MAKE) check device-test

check: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --implicit-reexport tests
	$(VENV)/bin/pytest -n logical --maxprocesses 4 --dist loadfile --durations=25

# The wheel, not the checkout, with the device's dependencies only; then a real bundle goes the way it will go:
# made on the host, copied, verified, timed and used where there is no PyTorch.
device-test: $(VENV)/.dev $(DEVICE)/.device
	$(DEVICE)/bin/python $(PIP) --no-deps --force-reinstall .
	$(DEVICE)/bin/python -c "import importlib.util as u; assert not u.find_spec('torch'), 'PyTorch is here'"
	$(DEVICE)/bin/pytest -n logical --maxprocesses 4 --dist loadfile tests/device tests/test_wall.py
	sh tests/device_walk.sh $(VENV)/bin/edge-tl $(DEVICE)/bin/edge-tl

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit('edge-tl needs Python 3.10 or newer: set PYTHON=' if sys.version_info < (3, 10) else 0)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.host: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python $(PIP) -e ".[host]"
	touch $@

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python $(PIP) -e ".[docs]"
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python $(PIP) -e ".[dev]"
	touch $@ $(VENV)/.host $(VENV)/.docs

$(DEVICE)/.device: pyproject.toml Makefile
	$(PYTHON) -m venv $(DEVICE)
	$(DEVICE)/bin/python $(PIP) ".[ort,openvino]" pytest pytest-timeout pytest-xdist hypothesis psutil
	touch $@

clean:
	rm -rf $(VENV) $(DEVICE) demo build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
