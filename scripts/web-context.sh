#!/usr/bin/env bash
# scripts/web-context.sh FOLDER SERVICES-FOLDER
#
# Writes to FOLDER what images/web/Dockerfile copies: the dependencies and the project, as
# scripts/services-context.sh has put them into SERVICES-FOLDER, the web tier's own dependencies
# (web-dependencies/), its package (web/), and its scripts and styles, bundled (built/).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

context=$1 services=$2
mkdir -p "$context"
cp images/web/Dockerfile "$context/"
[ -e build/web/names.json ] || scripts/web.sh

wheels_of_images
requirements=requirements/web.txt
inputs=$(cat $requirements scripts/web-context.sh | sha256sum)
if [ "$(cat "$context.web-dependencies" 2>/dev/null)" != "$inputs $processor" ]; then
    say "downloading the Python packages for the web tier's image"
    rm -rf "$context/web-dependencies" "$context.web-dependencies"
    logged web-dependencies .venv/bin/python -m pip install --disable-pip-version-check --no-compile \
        --target "$context/web-dependencies" --no-deps --require-hashes --requirement $requirements "${wheels[@]}"
    rm -rf "$context/web-dependencies/bin"
    echo "$inputs $processor" >"$context.web-dependencies"
fi
rm -rf "${context:?}"/{dependencies,application,web,built}
# Links, not copies: the folder is packed and sent to the engine, and nothing writes to it.
cp --recursive --link "$services/dependencies" "$services/application" "$context/"
mkdir "$context/web"
(cd web && find . -path ./script -prune -o -path ./static -prune -o -name __pycache__ -prune -o -type f -print0 |
    xargs -0 cp --parents --target-directory="../$context/web")
cp --recursive build/web "$context/built"
