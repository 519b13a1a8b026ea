# Everything works from a bare clone with Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo-output
# The tests that the engine's coverage is measured by; the others run without the cost of measuring it.
ENGINE := $(addprefix tests/,analysis breadth graph ops pains surgery values)

.PHONY: demo test check format docs samples sbom clean

demo: $(VENV)/.installed  ## prune both sample models
	@mkdir -p $(OUT)
	$(BIN)/onnxprune sample_models/digits_resnet.onnx --data sample_models/calib --test sample_models/test \
		--method entropy -o $(OUT)/digits_resnet.pruned.onnx --report $(OUT)/digits_resnet.html
	$(BIN)/onnxprune sample_models/digits_convnet.onnx --data sample_models/calib --test sample_models/test \
		--method entropy -o $(OUT)/digits_convnet.pruned.onnx --report $(OUT)/digits_convnet.html
	@echo
	@echo "The smaller models, their plans and reports:"
	@ls -l $(OUT)

# Two test processes with a thread each: with more they would wait for each other most of the time.
test: export OMP_NUM_THREADS := 1
test: export OPENBLAS_NUM_THREADS := 1
test: $(VENV)/.dev  ## run the tests; fail if the engine's coverage falls under 95 % of its lines
	$(BIN)/python -m pytest -n 2 --cov --cov-report= $(ENGINE)
	$(BIN)/python -m coverage report --fail-under=95 \
		--include='onnxprune/ops/*,onnxprune/analysis/*,onnxprune/surgery/*'
	$(BIN)/python -m pytest -n 2 $(ENGINE:%=--ignore=%)

check: $(VENV)/.dev  ## format, lint, types, import contracts, generated docs, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(MAKE) test

format: $(VENV)/.dev  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## write the generated pages anew
	$(BIN)/python docs/generate.py

samples: $(VENV)/.dev  ## train the sample models anew (needs torch)
	$(BIN)/pip install -q ".[train]"
	$(BIN)/python sample_models/train.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

# The tools that judge are told apart by their hashes; what is tested takes the newest versions that it allows.
$(VENV)/.dev: $(VENV)/.installed .ci/tools.txt
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r .ci/tools.txt
	$(BIN)/pip install -q --disable-pip-version-check -e ".[dev]"
	@touch $@

clean:  ## remove what the targets above made
	rm -rf $(VENV) $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* .sbom dist

sbom: $(VENV)/bin/python  ## dist/: the wheel, and what it brings along (CycloneDX)
	$(BIN)/pip install -q --disable-pip-version-check build cyclonedx-bom
	rm -rf dist .sbom
	$(BIN)/python -m build -q --wheel
	$(PYTHON) -m venv .sbom
	.sbom/bin/pip install -q --disable-pip-version-check dist/onnxprune-*.whl
	$(BIN)/cyclonedx-py environment .sbom/bin/python --output-format JSON --output-file dist/onnxprune.cdx.json
	rm -rf .sbom
