#!/bin/sh
# Makes a virtual environment from a lock file and installs this project into it.
#
#   sh requirements/prepare-venv.sh VENV LOCK      for example: .venv dev   or   /opt/venv runtime
#
# The Makefile and the Dockerfile both call it, so that both install the same way: every file is checked against the
# hashes in requirements/LOCK.txt, and nothing is built from source but this project (as an editable install).
# uv is used where it is on PATH, else pip puts a locked uv into VENV/.uv. PYTHON=… names another interpreter.
set -eu

cd "$(dirname "$0")/.."
venv=$1
lock=requirements/$2.txt
case $venv in
    /*) home=$venv ;;
    *) home=$(pwd -P)/$venv ;;
esac

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }
works() { command -v "$1" >/dev/null 2>&1 && "$1" --version >/dev/null 2>&1; }

# 3.12 and 3.11 come first: only for them does the registry have a redis-server, which the one-machine stack falls back on.
# A candidate is tried and not only looked up, because version managers leave commands on PATH that do nothing but fail.
find_python() {
    for candidate in ${PYTHON:-python3.12 python3.11 python3.13 python3 python}; do
        if "$candidate" -c "import sys; $1; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

if works uv; then needs=pass; else needs='import ensurepip, venv'; fi
if ! python=$(find_python "$needs"); then
    if python=$(find_python pass); then
        fail "$python lacks the venv module, a package of its own on some systems (python3-venv). Install it, or install uv."
    fi
    fail "Coatcheck needs Python 3.11, 3.12 or 3.13 and found none. Install one, or name it: make PYTHON=/path/to/python3.12"
fi

# A home that cannot be written to has no place for a cache.
if ! mkdir -p "${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/dev/null}/.cache}/uv}" 2>/dev/null; then
    export UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1
fi
# A mirror or a certificate that pip was told of counts for uv too.
if [ -n "${PIP_INDEX_URL:-}" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
fi
if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then
    export SSL_CERT_FILE="$PIP_CERT"
fi
# Trust what the system trusts, where it has a list of its own (UV_NATIVE_TLS is the name in older releases).
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -s "$bundle" ]; then
        export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1
        break
    fi
done
export UV_PYTHON_DOWNLOADS=never
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV UV_SYSTEM_PYTHON VIRTUAL_ENV CONDA_PREFIX

# Python marks an environment with pyvenv.cfg. What else stands under this name is not ours to remove.
if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ ! -f "$venv/.uv/pyvenv.cfg" ]; then
    fail "$venv exists and is no virtual environment: move it away first."
fi
# An environment survives neither a move nor the loss of its Python. A whole one is kept and brought up to date.
if ! "$venv/bin/python" -c '' 2>/dev/null || [ "$(cat "$venv/.ready" 2>/dev/null || printf '%s' "$home")" != "$home" ]; then
    rm -rf "$venv"
fi
rm -f "$venv/.ready"

say "Preparing $venv: $("$python" --version), $lock"
if works uv; then
    uv=uv
else
    uv=$venv/.uv/bin/uv
    if ! works "$uv"; then
        "$python" -m venv --clear "$venv/.uv"
        "$venv/.uv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --require-hashes --only-binary :all: --requirement requirements/bootstrap.txt
    fi
fi
if [ ! -x "$venv/bin/python" ]; then
    "$uv" venv --quiet --allow-existing --python "$python" "$venv"
fi
"$uv" pip sync --quiet --python "$venv/bin/python" --require-hashes --no-build --compile-bytecode "$lock"
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
if [ "$uv" != uv ]; then
    ln -sf ../.uv/bin/uv "$venv/bin/uv"
fi
printf '%s' "$home" >"$venv/.ready"
