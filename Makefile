# make run and make test do all of their set-up; make help lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

TOOLS := .tools/bin
GOLANGCI := $(TOOLS)/golangci-lint
STEP := scripts/step

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# How long each fuzz target runs; a longer search is FUZZTIME=5m make fuzz.
FUZZTIME ?= 2s
# For one whole package: the slowest drives the built binary.
TEST_TIMEOUT ?= 8m
# Further flags for go test, for example TESTFLAGS='-run TestTutorial -v'.
TESTFLAGS ?=
# For make bench, for example BENCHFLAGS='-rounds 1 -only dispatch'.
BENCHFLAGS ?=

##@ Everyday

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' \
		'/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: setup-run build ## Set up, build, start the demo gateway
	@go run ./examples/demo

# The tests run beside each other: many wait more than they compute.
.PHONY: test
test: ## Set up, lint, run every test (what CI runs)
	@$(MAKE) setup-test
	@$(STEP) "generated files" $(MAKE) check-generate
	@$(STEP) "lint Python, C, scripts" $(MAKE) lint-python lint-c lint-scripts
	@$(STEP) "build" $(MAKE) build build-nocgo
	@$(STEP) "go vet" $(MAKE) vet
	@$(STEP) "lint Go" $(MAKE) lint-go
	@$(STEP) "tests in Go and Python" $(MAKE) -j 3 --output-sync=target test-go test-python test-pythons
	@$(STEP) "fuzz" $(MAKE) fuzz

.PHONY: build
build: ## Build bin/krait (needs Go and a C compiler)
	@scripts/check-toolchain
	@mkdir -p bin
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/krait ./cmd/krait

.PHONY: clean
clean: ## Remove what was built; fetched tools stay (rm -rf .tools .venv tests/idp/node_modules)
	rm -rf bin .run bundle.zip pylib/.pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.tools/*' -not -path './.venv/*' -prune -exec rm -rf {} +

##@ Single steps (make setup-test once before)

# Vet is off because `make test` ran the whole of it before. The package that
# takes longest comes first, and the others run beside it.
.PHONY: test-go
test-go: build ## Go tests with the race detector, end-to-end tests included
	go test -race -vet=off -timeout $(TEST_TIMEOUT) $(TESTFLAGS) ./tests ./...

.PHONY: test-python
test-python: ## Tests of pylib and examples with three protobuf runtimes, oldest to newest
	@scripts/test-python .tools/venv-protobuf-system/bin/python3
	@scripts/test-python .tools/venv-protobuf-4.21/bin/python3
	@scripts/test-python .venv/bin/python3

.PHONY: test-pythons
test-pythons: cpythons ## The bridge's tests with CPython 3.9 to 3.14
	@scripts/test-pythons

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME
	@scripts/fuzz $(FUZZTIME)

# Leaks are not looked for: an interpreter keeps much of its memory to the
# process's end. CPython's own allocator would hide overruns, hence malloc.
# A small quarantine of freed memory, so that tests can watch the process's size.
# Only packages with C; -asan changes nothing for the others.
.PHONY: asan
asan: .venv ## Tests of the C parts with the address sanitizer
	ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 PYTHONMALLOC=malloc \
		go test -asan -timeout $(TEST_TIMEOUT) $(TESTFLAGS) . ./bridge/...

.PHONY: cgocheck
cgocheck: .venv ## Tests of the C parts with Go's strictest pointer checks
	GOEXPERIMENT=cgocheck2 go test -timeout $(TEST_TIMEOUT) $(TESTFLAGS) . ./bridge/...

.PHONY: generate
generate: generators ## Write coprocesspb/, pylib/*_pb2.py(i), bridge/api_stamp.h
	@scripts/generate

.PHONY: check-generate
check-generate: generators ## Fail when generated files differ from their sources
	@scripts/generate --check

.PHONY: lint
lint: lint-python lint-c lint-scripts build-nocgo lint-go ## All linters

.PHONY: lint-go
lint-go: $(GOLANGCI) ## golangci-lint, as .golangci.yml says and why
	@$(GOLANGCI) run
	@cd examples/identity && $(CURDIR)/$(GOLANGCI) run

.PHONY: vet
vet: ## go vet, the module of examples/identity included
	@go vet ./...
	@cd examples/identity && go vet ./...

.PHONY: lint-python
lint-python: .venv ## ruff and mypy --strict
	@scripts/lint-python

.PHONY: lint-c
lint-c: .venv ## clang-format, and warnings as errors
	@scripts/lint-c

.PHONY: lint-scripts
lint-scripts: .venv ## shellcheck
	@.venv/bin/shellcheck scripts/* .ci/run

# Whatever is outside of the bridge has to build without a C compiler.
.PHONY: build-nocgo
build-nocgo: ## Build everything with cgo off
	CGO_ENABLED=0 go build ./...

.PHONY: format
format: $(GOLANGCI) .venv ## Rewrite Go, C and Python as the linters want it
	@$(GOLANGCI) fmt
	@cd examples/identity && $(CURDIR)/$(GOLANGCI) fmt
	@git ls-files '*.c' '*.h' | xargs -r .venv/bin/clang-format -i
	@git ls-files '*.py' '*.pyi' | grep -v -E '_pb2\.pyi?$$|(^|/)testdata/' | \
		xargs -r .venv/bin/ruff format

##@ Measuring

# For the parts: go test -bench, whose output benchstat compares.
.PHONY: bench
bench: setup-bench build ## Measure everything; writes docs/PERFORMANCE.md (9 minutes)
	@mkdir -p bin
	go build -o bin/bench ./tests/bench
	bin/bench $(BENCHFLAGS)

##@ Set-up (done by run and test)

.PHONY: setup-run
setup-run: ## Packages and the Python environment that make run needs
	@scripts/check-toolchain
	@scripts/install-packages run
	@scripts/make-venv .venv requirements/run.txt

# The packages come first: the rest needs them. Then downloads, and the build
# of the Go linter, which takes minutes the first time, at once; each one's
# output is shown when it is done.
.PHONY: setup-test
setup-test: ## Everything that make test needs
	@scripts/check-toolchain
	@scripts/install-packages test
	@$(STEP) "fetch and build tools (minutes the first time)" \
		$(MAKE) -j 3 --output-sync=target environments cpythons generators golangci idp

.PHONY: setup-bench
setup-bench: ## Packages and the Python environment that make bench needs
	@scripts/check-toolchain
	@scripts/install-packages bench
	@scripts/make-venv .venv requirements/dev.txt

.PHONY: environments
environments: .venv
	@scripts/make-venv .tools/venv-protobuf-4.21 requirements/protobuf-4.21.txt
	@scripts/make-venv .tools/venv-protobuf-system --system-site-packages requirements/pytest.txt

# The scripts know themselves whether there is something to do.
.PHONY: .venv
.venv:
	@scripts/make-venv .venv requirements/dev.txt

.PHONY: cpythons
cpythons:
	@scripts/fetch-cpython

.PHONY: idp
idp:
	@scripts/install-idp

.PHONY: generators
generators: $(TOOLS)/protoc-gen-go
	@scripts/install-protoc

$(TOOLS)/protoc-gen-go: tools/protoc/go.mod tools/protoc/go.sum
	@cd tools/protoc && GOBIN=$(CURDIR)/$(TOOLS) go install tool
	@touch $@

.PHONY: golangci
golangci: $(GOLANGCI)
	@:

$(GOLANGCI): tools/golangci/go.mod tools/golangci/go.sum
	@echo "building golangci-lint"
	@cd tools/golangci && GOBIN=$(CURDIR)/$(TOOLS) go install tool
	@touch $@
