#!/usr/bin/env bash
# scripts/services-context.sh FOLDER
#
# Writes to FOLDER what images/services/Dockerfile copies: the services' dependencies, as unpacked
# wheels (dependencies/), and the project itself (application/). Because they are unpacked here,
# building the images needs neither pip nor a network.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

context=$1
python=.venv/bin/python
mkdir -p "$context"
cp images/services/Dockerfile images/services/cyber-dojo "$context/"

# unpack FOLDER INPUTS PIP-OPTION...: installs into FOLDER, unless the inputs are unchanged.
unpack() {
    local folder=$1 inputs=$2
    shift 2
    [ "$(cat "$context.$folder" 2>/dev/null)" != "$inputs" ] || return 0
    rm -rf "${context:?}/$folder" "$context.$folder"
    logged "services-$folder" "$python" -m pip install --disable-pip-version-check \
        --no-compile --target "$context/$folder" "$@"
    rm -rf "${context:?}/$folder/bin"
    echo "$inputs" >"$context.$folder"
}

wheels_of_images

requirements=requirements/services.txt
inputs=$(cat $requirements scripts/services-context.sh | sha256sum)
[ "$(cat "$context.dependencies" 2>/dev/null)" = "$inputs $processor" ] || say "downloading the Python packages for the services' images"
unpack dependencies "$inputs $processor" --require-hashes --requirement $requirements \
    "${wheels[@]}"

# Built from a copy, because in the checkout setuptools would also take what it left there the last
# time, deleted modules included.
source=build/services-source
scripts/launcher.sh
project=(pyproject.toml README.md LICENSE cyber_dojo_client dojo storer runner cli replay cyberdojo)
inputs=$(digest "${project[@]}" requirements/dev.txt scripts/services-context.sh)
if [ "$(cat "$context.application" 2>/dev/null)" != "$inputs" ]; then
    rm -rf $source
    mkdir -p $source
    cp -R "${project[@]}" $source/
    # Without build isolation, for which pip would download an unlocked setuptools.
    unpack application "$inputs" --no-deps --no-build-isolation ./$source
fi
