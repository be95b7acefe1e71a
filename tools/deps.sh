#!/bin/bash
# deps.sh -- installs what is missing to build, run and test: Debian packages, then npm packages.
# Says what it does; does nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
    # build
    gcc libc6-dev make cmake ninja-build ccache pkg-config git python3
    libevent-dev libssl-dev libcurl4-openssl-dev libsqlite3-dev libfyaml-dev libsodium-dev
    libzstd-dev libxgboost-dev libmosquitto-dev libjwt-dev
    # the browser app and the browser tests
    nodejs npm
)
# Only the tests need these.
test_packages=(
    clang clang-format libclang-rt-14-dev libfuzzer-14-dev
    chromium mosquitto mosquitto-clients curl xz-utils procps
    python3-xgboost
)
[ "${1:-}" = "--run-only" ] || packages+=("${test_packages[@]}")

is_there() {
    case $1 in
    nodejs) command -v node >/dev/null ;; # also when it did not come from Debian
    npm) command -v npm >/dev/null ;;
    *) [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}

missing=()
for package in "${packages[@]}"; do
    is_there "$package" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing: ${missing[*]}"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "deps.sh: run as root, or install sudo" >&2; exit 1; }
        sudo=sudo
    fi
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# What only tests need (clients, validators, browsers' drivers) is left out of --run-only.
have=$(cat node_modules/.complete 2>/dev/null || true)
want=all
[ "${1:-}" = "--run-only" ] && want=run
if [ -z "$have" ] || [ package-lock.json -nt node_modules/.complete ] || { [ $want = all ] && [ "$have" != all ]; }; then
    echo "installing npm packages"
    omit=()
    [ $want = run ] && omit=(--omit=dev)
    npm ci --no-audit --no-fund --loglevel=error "${omit[@]}"
    echo $want >node_modules/.complete
fi
