# make run    the whole platform with a simulated ward, from nothing
# make check  every test, from nothing
# Both install what is missing first (Debian packages with root or sudo; npm packages into node_modules).

SHELL := /bin/bash
JOBS ?= $(shell nproc)

.PHONY: run check interop deps run-deps build dev tsan fuzz release bench docs clean

run: run-deps
	cmake --preset release >/dev/null
	cmake --build build/release -j $(JOBS) --target vigil
	tools/run.sh

check: dev
	tools/check.sh

# Foreign servers that are not installed but built: HAPI FHIR, from Maven Central (300 MB, Java 17 and Maven).
interop: dev
	test/interop/hapi/run.sh build
	VIGIL_INTEROP=1 test/interop/hapi.py build/dev/vigil

deps:
	tools/deps.sh

run-deps:
	tools/deps.sh --run-only

dev tsan fuzz: deps
release: run-deps
dev tsan fuzz release:
	cmake --preset $@ >/dev/null
	cmake --build build/$@ -j $(JOBS)

build: release

bench: release
	bench/run.sh

# What is generated from the settings table.
docs: release
	build/release/vigil config --markdown >docs/configuration.md
	build/release/vigil config --yaml >vigil.example.yaml

clean:
	rm -rf build
