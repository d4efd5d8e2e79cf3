#!/usr/bin/env bash
# Makes .venv, with this project (editable), its dependencies and its development tools. pip
# installs only files whose hashes are in requirements/dev.txt.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Each candidate is run, because pyenv has shims for versions that are not installed.
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
    python=$(find_python) || fail "there is no Python 3.11 or newer" "install one, or name it: make PYTHON=/path/to/python3.11"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian has these two modules in a package of their own.
        case $("$python" -c 'import sys; print(sys.base_prefix)') in
            /usr) install_packages "Debian's Python needs it to make a virtual environment" \
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
# editable_mode=compat adds the path of the checkout, not a list of its current packages, so Python
# and the type checker also find code that is generated or added later. Without build isolation, for
# which pip would download an unlocked setuptools.
logged pip-install-project .venv/bin/python -m pip install --disable-pip-version-check \
    --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
touch .venv/.installed
