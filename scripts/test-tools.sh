#!/usr/bin/env bash
# Installs the programs that only the tests use.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

have mkfs.xfs || install_packages "the tests simulate power failures on ext4 and xfs" xfsprogs
have faketime || install_packages "the tests set a storer's clock back" faketime
have zstd || install_packages "the tests unpack what the storer compressed" zstd

# The following are unpacked and not installed: Debian's packages would start services on this
# machine, and leave users.

download=$(mktemp --directory)
trap 'rm -rf "$download"' EXIT

# unpack WHY PACKAGE FILE...: puts these files of a Debian package into build/tools/PACKAGE.
unpack() {
    local why=$1 package=$2 tools=build/tools/$2 file missing=()
    shift 2
    for file; do
        [ -x "$tools/${file##*/}" ] || missing+=("$file")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    have apt-get || fail "there is no apt-get to download Debian's $package: $why" \
        "put ${*##*/} into $tools, then try again"
    say "downloading $package: $why"
    # Package sources that were not read yet, or not for long, name no file that is there.
    (cd "$download" && apt-get download "$package") >build/logs/apt-download.log 2>&1 </dev/null || {
        as_root apt-get update >build/logs/apt-update.log 2>&1 </dev/null || true
        logged apt-download env --chdir="$download" apt-get download "$package"
    }
    dpkg-deb --extract "$download/${package}"_*.deb "$download/$package"
    mkdir -p "$tools"
    (cd "$download/$package" && cp "$@" "$OLDPWD/$tools/")
}

unpack "the tests check alerts with it" prometheus usr/bin/prometheus usr/bin/promtool
unpack "the tests of several machines start it" etcd-server usr/bin/etcd
