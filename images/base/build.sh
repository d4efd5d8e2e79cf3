#!/usr/bin/env bash
# images/base/build.sh FOLDER...
#
# Makes the image that each FOLDER's Dockerfile starts from, cyber-dojo/base-<name of
# the folder>: Debian 12, the packages in FOLDER/packages.txt, and the avatars as its users.
#
# If a registry answers, it is debian:12-slim and an apt-get install. If none does, it is
# put together from the same Debian packages by mmdebstrap, so that a docker engine and
# a Debian mirror are enough.
set -euo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

suite=bookworm
debian_image=${CYBER_DOJO_DEBIAN_IMAGE:-debian:12-slim}
# What people type is UTF-8. Without it Java prints "?" for an umlaut, and Ruby reads none.
locale=C.UTF-8

# By these a program finds who it is. Each line is one word.
users=$(xargs <images/base/passwd)
groups=$(sed -E 's/^([^:]*:x:[0-9]*:).*/\1/' images/base/passwd | xargs)

# Time zones are wanted in every language.
packages_of() {
    echo "$(sed 's/#.*//' "$1/packages.txt" | xargs) tzdata"
}

# "Pulling from" is the first thing said once a registry answered: ten seconds for
# that, as long as it takes for the rest.
registry_answers() {
    docker image inspect "$debian_image" >/dev/null 2>&1 && return 0
    local log=build/logs/registry.log pull waited=0
    docker pull "$debian_image" >"$log" 2>&1 </dev/null &
    pull=$!
    until grep -q 'Pulling from' "$log"; do
        if [ "$waited" -ge 100 ] || ! kill -0 "$pull" 2>/dev/null; then break; fi
        sleep 0.1
        waited=$((waited + 1))
    done
    grep -q 'Pulling from' "$log" || kill "$pull" 2>/dev/null || true
    wait "$pull" 2>/dev/null
}

from_registry() {
    local image=$1 inputs=$2 packages=$3
    docker build --label "cyber-dojo.inputs=$inputs" --tag "$image" \
        --build-arg http_proxy --build-arg https_proxy --build-arg no_proxy - <<DOCKERFILE
FROM $debian_image
ENV LANG=$locale
RUN printf '%s\n' $users >>/etc/passwd && printf '%s\n' $groups >>/etc/group
RUN mkdir -p /usr/share/man/man1 && apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $packages \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/doc/* /usr/lib/jvm/*/jmods
DOCKERFILE
}

# Where the host gets its Debian packages from, and through which proxy: where one
# works, the other does too. Nothing on other distributions: mmdebstrap has a default.
host_sources() {
    have apt-get || return 0
    # shellcheck disable=SC2016 # apt fills these in
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        grep -E " $suite(-updates|-security)? main\$" | sort -u
}

host_options() {
    have apt-config || return 0
    apt-config dump --format '--aptopt=%F "%v"%n' Acquire |
        grep -E 'Proxy|Check-|Verify|CaInfo|Retries|ForceIPv' | grep -v '""$' || true
}

from_packages() {
    local image=$1 inputs=$2 packages=$3 options id
    shift 3
    mapfile -t options < <(host_options)
    # The hook directory keeps out 50 MB of Perl, which Debian's usrmerge would bring.
    # Java's packages link their manuals, and stop where there is no folder for them.
    # Tagged only when complete: docker imports half a tar without a complaint.
    # shellcheck disable=SC2016 # $1 is the new root directory, which mmdebstrap fills in
    id=$(as_root mmdebstrap --variant=essential \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include="${packages// /,}" "${options[@]}" \
        --essential-hook='mkdir -p "$1"/usr/share/man/man1' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/lib/jvm/*/jmods/*' \
        --customize-hook='rm -rf "$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99mmdebstrap' \
        --customize-hook="printf '%s\\n' $users >>\"\$1\"/etc/passwd" \
        --customize-hook="printf '%s\\n' $groups >>\"\$1\"/etc/group" \
        --customize-hook='rm -rf "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/log/*' \
        --format=tar "$suite" - "$@" |
        docker import --change "LABEL cyber-dojo.inputs=$inputs" --change "ENV LANG=$locale" \
            --change 'CMD ["sh"]' -) ||
        { docker image rm "$id"; return 1; }
    docker tag "$id" "$image"
}

build() {
    local image=$1 inputs=$2 packages=$3 sources
    if [ "$registry" = yes ]; then
        from_registry "$image" "$inputs" "$packages" && return
        echo "not from $debian_image; from Debian's packages, then"
    fi
    sources=$(host_sources)
    if [ -n "$sources" ]; then
        from_packages "$image" "$inputs" "$packages" - <<<"$sources" && return
        echo "not from the host's package sources; from Debian's own, then"
    fi
    from_packages "$image" "$inputs" "$packages"
}

declare -A inputs_of=()
missing=()
for folder; do
    image=cyber-dojo/base-$(basename "$folder")
    inputs=$(digest "$folder/packages.txt" images/base/build.sh images/base/passwd)
    up_to_date "$image" "$inputs" && continue
    to_be_replaced "$image"
    missing+=("$folder")
    inputs_of[$folder]=$inputs
done
[ ${#missing[@]} -gt 0 ] || exit 0

registry=no
if registry_answers; then
    registry=yes
    say "base images from $debian_image: ${missing[*]}"
else
    say "base images from Debian's packages, because no registry answers: ${missing[*]}"
    install_packages "puts together a small Debian from its packages" mmdebstrap debian-archive-keyring
fi

# At the same time: half of it is waiting for the mirror, half of it is unpacking. But no
# more of them than there are processors.
at_once=$(nproc)
# Each that fails says so itself: the shell forgets how a process ended when another gets its number.
failed=build/logs/base-failed
: >"$failed"
count=0
for folder in "${missing[@]}"; do
    while [ "$(jobs -pr | wc -l)" -ge "$at_once" ]; do wait -n || true; done
    name=$(basename "$folder")
    count=$((count + 1))
    [ ${#missing[@]} = 1 ] || say "base image $count of ${#missing[@]}: $name"
    build=(build "cyber-dojo/base-$name" "${inputs_of[$folder]}" "$(packages_of "$folder")")
    { (logged "base-$name" "${build[@]}") || echo "$folder" >>"$failed"; } &
done
wait
[ ! -s "$failed" ] || fail "no base image for: $(xargs <"$failed")"
