#!/usr/bin/env bash
# scripts/services-context.sh FOLDER
#
# Gathers in FOLDER what images/services/Dockerfile copies: the wheels that the services
# need, unpacked (dependencies/), and the project's own (application/). Unpacked here, so
# that the images need neither pip nor a network.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

context=$1
python=.venv/bin/python
mkdir -p "$context"
cp images/services/Dockerfile images/services/cyber-dojo "$context/"

# unpack FOLDER INPUTS PIP-OPTION...: afresh, unless the inputs are those of the last time.
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

# For the image's Python and the engine's processor, whatever they are on this host. An
# image with Debian 12's C library takes wheels made for that one or an older.
case $(docker version --format '{{.Server.Arch}}') in
    amd64) processor=x86_64 ;;
    arm64) processor=aarch64 ;;
    *) processor=$(uname --machine) ;;
esac
platforms=(--platform "manylinux2014_$processor")
for minor in {18..36}; do
    platforms+=(--platform "manylinux_2_${minor}_$processor")
done

requirements=build/services-requirements.txt
"$python" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
' >$requirements
inputs=$(cat $requirements constraints.txt scripts/services-context.sh | sha256sum)
[ "$(cat "$context.dependencies" 2>/dev/null)" = "$inputs $processor" ] || say "gathering the Python packages for the services' images"
unpack dependencies "$inputs $processor" --requirement $requirements --constraint constraints.txt \
    --implementation cp --python-version 3.11 "${platforms[@]}" --only-binary :all:

# From a copy: in the checkout itself setuptools finds what it left there the last time,
# modules included that are gone since.
source=build/services-source
packages=(dojo storer runner cli replay cyberdojo)
inputs=$(digest pyproject.toml "${packages[@]}" scripts/services-context.sh)
if [ "$(cat "$context.application" 2>/dev/null)" != "$inputs" ]; then
    rm -rf $source
    mkdir -p $source
    cp -R pyproject.toml "${packages[@]}" $source/
    unpack application "$inputs" --no-deps ./$source
fi
