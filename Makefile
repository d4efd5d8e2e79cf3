# Every target can be repeated: make skips what is already done.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# Tests start thousands of Python processes: each would compile the services anew.
unexport PYTHONDONTWRITEBYTECODE

python := .venv/bin/python
# Tests mostly wait, for the engine and the disk.
workers := $(shell expr 2 '*' $$(nproc))
node := clients/node
buf := $(node)/node_modules/.bin/buf
contract := protos

help: ## show this list
	@sed -n 's/^\([a-z_%-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-16s %s\n", $$1, $$2 }'

## Set-up

setup: engine protos launcher ## install and start what is missing: docker, Python packages, generated code

engine:
	@scripts/engine.sh

protos: cyberdojo/__init__.py ## generate cyberdojo/ from protos/

launcher: ## compile the program that starts runs, runner/launch/launcher.c
	@scripts/launcher.sh

.venv/.installed: pyproject.toml requirements/dev.txt
	@scripts/venv.sh

# The folders are prerequisites because deleting a proto changes nothing else.
cyberdojo/__init__.py: $(shell find protos/cyberdojo -type d -o -name '*.proto') protos/service_config.json dojo/etcd/rpc.proto scripts/protos.sh .venv/.installed
	@scripts/protos.sh

$(node)/node_modules/.package-lock.json: $(node)/package-lock.json
	@scripts/node.sh

$(node)/dist/index.js: cyberdojo/__init__.py $(wildcard $(node)/src/*.ts) $(node)/tsconfig.json scripts/node-client.sh $(node)/node_modules/.package-lock.json
	@scripts/node-client.sh

node-client: $(node)/dist/index.js ## build the Node client from clients/node/src and protos/

clients: protos node-client ## pack the clients, into build/clients/
	@scripts/clients.sh

## The services

build/web/names.json: $(shell find web/static web/script -path web/script/node_modules -prune -o -type f -print) scripts/web.sh
	@scripts/web.sh

web: build/web/names.json ## bundle the scripts and styles of the web tier, into build/web/

images: engine protos launcher web ## build the images of the services and of the web tier, and of the languages in images/suite.txt
	@scripts/images.sh
	@scripts/start-points.sh

images-all: engine protos launcher web ## build the images of the services and of all languages
	@scripts/images.sh --all
	@scripts/start-points.sh

image-%: engine ## build one language image, and its base images: make image-gcc_assert
	@scripts/images.sh $*

up: images ## start all: storer on 127.0.0.1:4577, runner on 127.0.0.1:4597, the pages on 127.0.0.1:4500; TLS=1: with TLS and tokens
	@scripts/up.sh

machines: .venv/.installed ## write what each of several machines needs: make machines FOLDER=... MACHINES="n1=10.0.0.1 ..." ARCHIVE=...
	@$(python) -m scripts.machines $(FOLDER) $(MACHINES) --archive "$(ARCHIVE)" $(OPTIONS)

push: engine ## bring the images of this machine into the registry of several machines
	@scripts/registry.sh push $(IMAGES)

pull: engine ## bring the images of the registry of several machines to this one
	@scripts/registry.sh pull $(IMAGES)

rollback: engine ## go back to the images that ran before the last make up
	@scripts/rollback.sh

down: ## stop the services; the katas stay
	@scripts/compose --profile prometheus down --volumes

prometheus: image-prometheus ## start a Prometheus beside the services, on 127.0.0.1:9090
	@scripts/compose --profile prometheus up --detach --no-deps prometheus

demo: up ## set up, start the services, and show what they do; TLS=1: with TLS and tokens
	@scripts/with-access $(python) scripts/demo.py
	@scripts/web-address.sh

## The code

test: setup lint lint-protos types node-client web images ## set up, check everything, run all tests
	@scripts/test-tools.sh
	@$(python) -m pytest --numprocesses $(workers) --dist worksteal

test-machines: setup node-client images ## several machines fail for an hour: MACHINE_FAULTS=40
	@scripts/test-tools.sh
	@scripts/images.sh etcd haproxy registry
	@$(python) -m pytest tests/integration/machines tests/integration/several --timeout=7200 --composed-machines --machine-faults=$(or $(MACHINE_FAULTS),40)

simulate: protos ## 100,000 katas on 200 simulated machines that fail; SEED=1
	@PYTHONPATH=tests $(python) -m support.simulation $(if $(SEED),--seed $(SEED))

test-languages: setup images-all ## test the start points and legacy scripts of all languages in their images
	@$(python) -m pytest tests/integration/test_start_points.py tests/integration/test_legacy_scripts.py --all-languages --numprocesses $(workers)

bench: setup images ## measure, print the tables, write benchmarks/results.json
	@$(python) -m benchmarks

test-unit: protos node-client ## run the tests that need no engine
	@$(python) -m pytest tests/unit

fuzz: setup images ## look for inputs that do harm, for FUZZ_SECONDS (3600), with random seeds or FUZZ_SEED
	@scripts/fuzz.sh

fuzz-case: setup images ## try one finding again: make fuzz-case CASE=build/fuzz/call.json
	@$(python) -m pytest tests/fuzz/test_cases.py --case $(CASE)

coverage: setup node-client images ## run all tests, and tell what they cover, the services that they start counted
	@COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml COVERAGE_FILE=$(CURDIR)/build/coverage/data \
		$(python) -m pytest --numprocesses $(workers) --dist worksteal --cov --cov-report=
	@$(python) -m coverage report --skip-covered --sort=cover

lint: .venv/.installed ## check the code without running it
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/lint-imports --no-logo --no-cache
	@.venv/bin/shellcheck --external-sources --source-path=SCRIPTDIR $$(grep -rlE '^#!/.*sh$$' .ci images scripts)

lint-protos: $(node)/node_modules/.package-lock.json ## check the protos, and that they don't break callers of the last release
	@$(buf) lint $(contract)
	@[ ! -e $(contract)/released.binpb ] || $(buf) breaking $(contract) --against $(contract)/released.binpb

release-protos: $(node)/node_modules/.package-lock.json ## make the current protos those of the last release
	@$(buf) build $(contract) --exclude-source-info --output $(contract)/released.binpb

lock: .venv/.installed ## write requirements/ from pyproject.toml; locked versions stay
	@scripts/lock.sh

lock-check: lock ## fail if requirements/ does not match pyproject.toml
	@git diff --exit-code requirements

upgrade: .venv/.installed ## write requirements/ with the newest versions that pyproject.toml allows
	@scripts/lock.sh --upgrade

types: protos web ## check the types
	@$(python) -m mypy
	@web/script/node_modules/.bin/tsc -p web/script

format: .venv/.installed ## format the code
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format

clean: ## remove what make created in this folder; images and katas stay
	rm -rf build cyberdojo dojo/etcd/rpc_pb2.py* runner/launch/launcher .venv web/script/node_modules $(node)/node_modules $(node)/dist $(node)/src/gen *.egg-info

.PHONY: help setup engine protos launcher node-client clients web images images-all up machines push pull rollback down prometheus demo test test-unit fuzz fuzz-case coverage test-machines simulate test-languages bench lint lint-protos \
	release-protos lock lock-check upgrade types format clean
