#!/usr/bin/env bash
# Makes .venv, with this project (editable), what it needs, and its development tools: the
# files that requirements/dev.txt has hashes of, and no others.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Tried by running it: a pyenv shim is there for versions that aren't.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 /usr/bin/python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python) || fail "no Python 3.11 or newer found" "install one, or name it: make PYTHON=/path/to/python3.11"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian's Python has these two in a package of their own.
        case $("$python" -c 'import sys; print(sys.base_prefix)') in
            /usr) install_packages "Debian's Python makes no virtual environments without it" \
                "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" ;;
            *) fail "$python has no venv and ensurepip modules" "choose another: make PYTHON=/usr/bin/python3" ;;
        esac
    fi
    say "making .venv with $("$python" --version)"
    logged venv "$python" -m venv --clear .venv
fi

say "installing the Python packages that requirements/dev.txt locks into .venv"
logged pip-install .venv/bin/python -m pip install --disable-pip-version-check \
    --require-hashes --requirement requirements/dev.txt
# As one path to the checkout (compat), not as a list of today's packages: code that is
# generated or added later is found too, by the type checker as well. Without build isolation:
# pip would get an unlocked setuptools for it.
logged pip-install-project .venv/bin/python -m pip install --disable-pip-version-check \
    --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
touch .venv/.installed
