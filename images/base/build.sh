#!/usr/bin/env bash
# images/base/build.sh FOLDER...
#
# Builds the image that each FOLDER's Dockerfile starts from, cyber-dojo/base-<name of the folder>:
# Debian 12, the packages in FOLDER/packages.txt, and a user for each avatar.
#
# If a registry answers, the image is debian:12-slim with an apt-get install. If none does,
# mmdebstrap builds it from the same Debian packages, so a docker engine and a Debian mirror are
# enough.
set -euo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

suite=bookworm
debian_image=${CYBER_DOJO_DEBIAN_IMAGE:-debian:12-slim}
# Participants type UTF-8. Without this locale Java prints "?" for an umlaut, and Ruby can't read one.
locale=C.UTF-8

# Programs look up their user's name in these. Each line is one word, so xargs keeps it whole.
users=$(xargs <images/base/passwd)
groups=$(sed -E 's/^([^:]*:x:[0-9]*:).*/\1/' images/base/passwd | xargs)

# packages_of FOLDER: prints its packages. Every language needs time zones.
packages_of() {
    echo "$(sed 's/#.*//' "$1/packages.txt" | xargs) tzdata"
}

# Whether the image is here or can be pulled. docker prints "Pulling from" when a registry answers:
# that may take ten seconds, and the rest of the pull as long as it needs.
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

# The host's own package sources, and its proxy: what works for apt works for mmdebstrap too. Prints
# nothing on other distributions: mmdebstrap has a default.
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
    # The hook directory saves 50 MB of Perl, which Debian's usrmerge would install.
    # Java's packages link their manuals, and fail if there is no folder for them.
    # Tagged only when complete, because docker imports a truncated tar without an error.
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
        echo "building from $debian_image failed: building from Debian's packages"
    fi
    sources=$(host_sources)
    if [ -n "$sources" ]; then
        from_packages "$image" "$inputs" "$packages" - <<<"$sources" && return
        echo "building from the host's package sources failed: building from Debian's own"
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
    install_packages "mmdebstrap builds a small Debian from its packages" mmdebstrap debian-archive-keyring
fi

# As many builds at once as there are processors: half of the time a build waits for the mirror.
at_once=$(nproc)
# A build that fails records that in a file: the shell forgets a process's status when another
# process gets the same number.
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
[ ! -s "$failed" ] || fail "these base images could not be built: $(xargs <"$failed")" "the logs are in build/logs"
