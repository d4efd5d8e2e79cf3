#!/usr/bin/env bash
# Installs the programs that only the tests use.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

have mkfs.xfs || install_packages "the tests simulate power failures on ext4 and xfs" xfsprogs
have faketime || install_packages "the tests set a storer's clock back" faketime
have ip || install_packages "the tests start several machines, in namespaces" iproute2
have chromium || install_packages "the tests use the pages in it" chromium
have zstd || install_packages "the tests unpack what the storer compressed" zstd

# The following are unpacked and not installed: Debian's packages would start services on this
# machine, and leave users.

download=$(mktemp --directory)
trap 'rm -rf "$download"' EXIT

# fetch PACKAGE...: unpacks Debian packages into $download/PACKAGE.
fetch() {
    local package
    # Package sources that were not read yet, or not for long, name no file that is there.
    (cd "$download" && apt-get download "$@") >build/logs/apt-download.log 2>&1 </dev/null || {
        as_root apt-get update >build/logs/apt-update.log 2>&1 </dev/null || true
        logged apt-download env --chdir="$download" apt-get download "$@"
    }
    for package; do
        dpkg-deb --extract "$download/${package}"_*.deb "$download/$package"
    done
}

# lacks_libraries FOLDER FILE...: whether the programs need libraries that are neither in the folder
# nor on this machine.
lacks_libraries() {
    LD_LIBRARY_PATH=$1 ldd "${@:2}" 2>/dev/null | grep -q 'not found'
}

# fetch_libraries PACKAGE FOLDER: puts the libraries that apt would install with a package into the
# folder.
fetch_libraries() {
    local libraries library
    mapfile -t libraries < <(apt-get install --simulate --no-install-recommends "$1" \
        2>build/logs/apt-simulate.log | sed -n 's/^Inst \(lib[^ ]*\) .*/\1/p')
    [ ${#libraries[@]} -gt 0 ] || return 0
    fetch "${libraries[@]}"
    mkdir -p "$2"
    for library in "${libraries[@]}"; do
        find "$download/$library" -name 'lib*.so.*' -exec cp -P {} "$2/" \;
    done
}

# unpack WHY PACKAGE FILE...: puts these files of a Debian package into build/tools/PACKAGE, and the
# libraries that they need and this machine lacks into build/tools/PACKAGE/lib.
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
    fetch "$package"
    for file; do
        file=$download/$package/$file
        ! lacks_libraries "" "$file" || fetch_libraries "$package" "$tools/lib"
        ! lacks_libraries "$tools/lib" "$file" ||
            fail "apt does not say where the libraries are that $package needs" \
                "put them into $tools/lib and ${file##*/} into $tools, then try again"
        mkdir -p "$tools"
        cp "$file" "$tools/"
    done
}

unpack "the tests check alerts with it" prometheus usr/bin/prometheus usr/bin/promtool
unpack "the tests of several machines start it" etcd-server usr/bin/etcd
unpack "the tests of several machines route with it" haproxy usr/sbin/haproxy
