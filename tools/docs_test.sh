#!/bin/sh
# docs_test.sh VIGIL -- docs/configuration.md and vigil.example.yaml are what the settings table says
# (`make docs` writes them), and the example is a configuration without errors.
set -eu
cd "$(dirname "$0")/.."
"$1" config --markdown | diff - docs/configuration.md
"$1" config --yaml | diff - vigil.example.yaml
"$1" config --check vigil.example.yaml
