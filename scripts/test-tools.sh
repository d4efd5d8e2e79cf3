#!/usr/bin/env bash
# Installs the programs that only the tests use.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

have mkfs.xfs || install_packages "the tests simulate power failures on ext4 and xfs" xfsprogs
have faketime || install_packages "the tests set a storer's clock back" faketime
have zstd || install_packages "the tests unpack what the storer compressed" zstd

# Unpacked and not installed: Debian's package would start a Prometheus on this machine, and leave a
# user.
tools=build/tools/prometheus
if [ ! -x $tools/promtool ]; then
    have apt-get || fail "there is no apt-get to download Debian's prometheus: the tests check alerts with it" \
        "put prometheus and promtool into $tools, then try again"
    say "downloading prometheus: the tests check alerts with it"
    download=$(mktemp --directory)
    trap 'rm -rf "$download"' EXIT
    # Package sources that were not read yet, or not for long, name no file that is there.
    (cd "$download" && apt-get download prometheus) >build/logs/apt-download.log 2>&1 </dev/null || {
        as_root apt-get update >build/logs/apt-update.log 2>&1 </dev/null || true
        logged apt-download env --chdir="$download" apt-get download prometheus
    }
    dpkg-deb --extract "$download"/prometheus_*.deb "$download/unpacked"
    mkdir -p $tools
    cp "$download"/unpacked/usr/bin/prom{etheus,tool} $tools/
fi
