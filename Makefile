# Needs Python 3.11 or later with venv, git, g++ and make; everything else comes from pip.
# pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, pip.conf) are left as they are.

PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)
VENV := .venv
ASAN_VENV := .venv-asan
BIN := $(VENV)/bin
EXTRAS := dev $(if $(shell command -v nvidia-smi 2>/dev/null),cuda13)
BUILD_TOOLS := cmake ninja numpy
JOBS ?= 2
CLANG ?= clang++-14
FUZZ_SECONDS ?= 30

NATIVE_FILES := CMakeLists.txt pyproject.toml $(shell find planner -name '*.cpp' -o -name '*.h')
CPP_FILES = $(shell find $(wildcard planner tests/cpp benchmarks) -name '*.cpp' -o -name '*.h')
CMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" cmake

comma := ,

PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder
# A test that takes five minutes ends its worker, and is named.
HANGS_FAIL = -o faulthandler_exit_on_timeout=true
# What is about the core, and not about OR-Tools or Python beside it.
SANITIZED_TESTS = $(filter-out %/test_baselines.py %/test_budget.py %/test_explain.py,$(wildcard tests/unit/planner/test_*.py))
SEED ?= $(shell git rev-parse HEAD 2>/dev/null)
ASAN_BUILD = -C build-dir=build/asan -C cmake.build-type=Debug $(foreach define,\
	FASTSA_BUILD_TESTS=ON FASTSA_BUILD_FUZZERS=ON FASTSA_SANITIZE=address$(comma)undefined,-C cmake.define.$(define))

# Python itself is not sanitized: the runtime must be loaded first, and what Python leaks at exit
# is not ours. Through Python's own allocator small overruns would go unseen.
SANITIZED = FASTSA_EXPECT_SANITIZED=1 PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	LD_PRELOAD="$$($(CLANG) -print-file-name=libclang_rt.asan-x86_64.so) $$(g++ -print-file-name=libstdc++.so)"

# Prints the requirements of the build, of fastsa and of the extras named as arguments, so that pip
# installs them in one go without building fastsa.
define requirements
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    tables = tomllib.load(file)
project = tables["project"]
print(*tables["build-system"]["requires"], *project["dependencies"], sep="\n")
for extra in sys.argv[1:]:
    print(*project["optional-dependencies"][extra], sep="\n")
endef
export requirements

# $(call quietly,what it does,command): one line, and the command's own output only if it fails.
quietly = @echo "$(1)"; log=$$(mktemp); $(2) >$$log 2>&1 || { cat $$log; rm -f $$log; exit 1; }; rm -f $$log

# $(call pip,what it does,requirements): the same, and what pip says can be followed.
pip = @echo "$(1) (see $(VENV)/pip.log)"; $(BIN)/python -m pip install --no-compile $(2) -c constraints.txt >$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log; exit 1; }

# $(call install,virtual environment): build the core and install fastsa in place.
install = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip --python $(1)/bin/python install --no-build-isolation --no-deps -e .

# $(call ctest,virtual environment,build folder,more): run the C++ tests; one line if all is well.
ctest = @log=$$(mktemp); $(1)/bin/ctest --test-dir $(2) $(3) --output-on-failure --no-tests=error -j $(JOBS) >$$log 2>&1 \
	&& grep "tests passed" $$log || { cat $$log; rm -f $$log; exit 1; }; rm -f $$log

# $(call build-tests,build folder,targets,CMake options): build C++ targets.
define build-tests
$(call quietly,Configuring $(1),$(CMAKE) -S . -B $(1) -G Ninja -DFASTSA_BUILD_TESTS=ON $(3))
$(call quietly,Building the C++ tests in $(1),$(CMAKE) --build $(1) -j $(JOBS) --target $(2))
endef

.DEFAULT_GOAL := help
.PHONY: help setup native demo test test-unit test-nightly test-sample test-seconds lint format check-cpp asan tsan fuzz clean distclean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Create .venv and install what fastsa needs

native: setup $(VENV)/.native ## Build the C++ core and install fastsa in place

demo: $(VENV)/.native ## Train a GPT at half its memory and compare (EXAMPLE=resnet: a ResNet)
	@$(BIN)/python examples/demo.py $(EXAMPLE)

test: native ## Run all tests that a change must pass: the tiers unit and integration
	@$(PYTEST) $(HANGS_FAIL)

test-unit: native ## Run the unit tests: no process, nothing compiled by torch
	@$(PYTEST) $(HANGS_FAIL) tests/unit

test-nightly: native ## Run what is too slow for every change: all real scripts, four ranks, wheels, mutants
	@$(PYTEST) -m nightly

test-sample: native ## Run a tenth of the nightly tests, drawn by SEED (the commit)
	@$(PYTEST) -m nightly --nightly-sample "$(SEED)"

test-seconds: native ## Run everything, and write down what each test takes and holds: docs/testing.md
	@$(PYTEST) -m "" --record-seconds tests/seconds.json
	@$(BIN)/python docs/make_testing.py

lint: setup ## Check style, types and news fragments: ruff, mypy, clang-format, towncrier
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --num-workers $(JOBS)
	@$(BIN)/mypy examples $(wildcard benchmarks/*.py)
	@$(if $(CPP_FILES),$(BIN)/clang-format --dry-run -Werror $(CPP_FILES))
	$(call quietly,Checking the news fragments,$(BIN)/towncrier build --draft --version next)

format: setup ## Format all code
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(if $(CPP_FILES),$(BIN)/clang-format -i $(CPP_FILES))

check-cpp: native ## Build and run the C++ tests, on the objects of the core (needs GoogleTest: libgtest-dev)
	$(call build-tests,build/editable,fastsa_tests,-DCMAKE_COMPILE_WARNING_AS_ERROR=ON)
	$(call ctest,$(VENV),build/editable)

asan: $(ASAN_VENV)/.native ## Run the C++ and the planner tests under address and UB sanitizers (needs clang-14, libclang-rt-14-dev)
	$(call ctest,$(VENV),build/asan)
	@$(SANITIZED) $(ASAN_VENV)/bin/python -m pytest -n $(JOBS) --dist loadscope --capture=sys $(SANITIZED_TESTS) tests/integration/packaging/test_sanitized.py

tsan: setup ## Run the C++ tests that start threads under the thread sanitizer
	$(call build-tests,build/tsan,fastsa_tests,-DCMAKE_BUILD_TYPE=Debug -DFASTSA_SANITIZE=thread -DFASTSA_TESTS=solve)
	$(call ctest,$(VENV),build/tsan)

fuzz: $(ASAN_VENV)/.native ## Fuzz the sanitized core with random graphs and budgets for FUZZ_SECONDS
	@mkdir -p build/asan/corpus
	@cd build/asan && ./fastsa_fuzz corpus -max_total_time=$(FUZZ_SECONDS) -max_len=512 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 >log 2>&1 \
		&& grep number_of_executed_units log || { cat log; exit 1; }

clean: ## Remove builds and caches
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo
	rm -f $(VENV)/.native $(ASAN_VENV)/.native

distclean: clean ## Remove the virtual environments as well
	rm -rf $(VENV) $(ASAN_VENV)

# What is needed to build and run; the rest, for development, comes on top.
$(VENV)/.base: pyproject.toml constraints.txt
	$(if $(PYTHON),,$(error No Python found: install Python 3.11 or later, or say where it is with PYTHON=))
	$(call quietly,Creating $(VENV) with $(PYTHON),$(PYTHON) -m venv $(VENV))
	$(call quietly,Upgrading pip,$(BIN)/python -m pip install --upgrade pip)
	@$(BIN)/python -c "$$requirements" > $(VENV)/requirements.txt
	$(call pip,Installing the dependencies: PyTorch is a large download,-r $(VENV)/requirements.txt $(BUILD_TOOLS))
	@touch $@

$(VENV)/.installed: $(VENV)/.base
	@$(BIN)/python -c "$$requirements" $(EXTRAS) > $(VENV)/requirements.txt
	$(call pip,Installing what development needs,-r $(VENV)/requirements.txt)
	@touch $@

$(VENV)/.native: $(VENV)/.base $(NATIVE_FILES)
	$(call quietly,Building the C++ core,$(call install,$(VENV)))
	@touch $@

# The packages are those of $(VENV), but for fastsa: what a .pth file only names is not run.
$(ASAN_VENV)/.installed: $(VENV)/.installed
	$(call quietly,Creating $(ASAN_VENV) with $(PYTHON),$(PYTHON) -m venv --without-pip $(ASAN_VENV))
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$(ls -d $(ASAN_VENV)/lib/python*/site-packages)/packages.pth
	@touch $@

# One build for all: the core, its C++ tests, the fuzzer and the module.
$(ASAN_VENV)/.native: $(ASAN_VENV)/.installed $(NATIVE_FILES) $(wildcard tests/cpp/* tests/fuzz/*)
	$(call quietly,Building the C++ core$(comma) its tests and the fuzzer with sanitizers,CXX=$(CLANG) $(call install,$(ASAN_VENV)) $(ASAN_BUILD))
	@touch $@
