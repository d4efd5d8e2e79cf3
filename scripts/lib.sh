# shellcheck shell=bash
# What the scripts share. They source this file first; it changes to the top of the checkout.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
umask 022 # what is made here ends in images, where other users read it
mkdir -p build/logs

say() {
    printf -- '-- %s\n' "$*"
}

# fail LINE...: prints the reason and what to do, and exits.
fail() {
    printf -- '** %s\n' "$@" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# logged NAME COMMAND...: runs the command with its output in build/logs/NAME.log. If the command
# fails, prints the end of the log and exits.
logged() {
    local log="build/logs/$1.log"
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" | sed 's/^/   | /' >&2
        fail "this failed: $*" "its whole output is in $log"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        # apt needs these where the way out is a proxy.
        sudo --preserve-env=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY "$@"
    else
        fail "this needs root, and there is no sudo: $*" "run that as root, then try again"
    fi
}

# install_packages WHY PACKAGE...: installs the Debian packages that are missing.
install_packages() {
    local why=$1 package missing=()
    shift
    for package; do
        dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null |
            grep -q '^.i' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    have apt-get || fail "${missing[*]} is missing, and there is no apt-get to install it: $why" \
        "install it by hand, then try again"
    say "installing ${missing[*]}: $why"
    # If a package source does not answer, the installation may work all the same, and fails if not.
    as_root apt-get update >build/logs/apt-update.log 2>&1 </dev/null || true
    logged "apt-install-${missing[0]}" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"
}

# refuse_unknown NAME [WHERE]: fails if NAME is called like a setting and is none, and names the one
# that begins most alike. Compose passes on the settings that it knows, and ignores others without
# a word.
refuse_unknown() {
    local each length meant most=0
    [[ $1 = CYBER_DOJO_* && " ${known_settings[*]} " != *" $1 "* ]] || return 0
    for each in "${known_settings[@]}"; do
        length=${#each}
        until [ "${1:0:length}" = "${each:0:length}" ]; do length=$((length - 1)); done
        [ "$length" -le "$most" ] || { most=$length meant=$each; }
    done
    fail "${2:-}$1 is no setting; $meant is one" "docs/running.md lists the settings"
}

# read_settings: exports what .env sets and the environment has not. It reads the file as
# dojo/service/settings_file.py does, and refuses the same.
read_settings() {
    local file=${CYBER_DOJO_SETTINGS_FILE:-.env} line where number=0 name value set_by_file=() seen=" "
    if [ -z "${CYBER_DOJO_SETTINGS_FILE:-}" ] && [ ! -e "$file" ]; then return 0; fi
    [ -r "$file" ] || fail "$file, the file with the settings, can't be read"
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        where="$file:$number: "
        [[ $line =~ [^[:space:]] && $line != "#"* ]] || continue
        [[ $line =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || fail "${where}is not NAME=value"
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
        refuse_unknown "$name" "$where"
        [[ $name = CYBER_DOJO_* || $name =~ ^(COMPOSE|DOCKER|AWS)_[A-Z0-9_]+$ ]] || fail "$where$name is no setting"
        case $name in
            CYBER_DOJO_SETTINGS_FILE) fail "$where$name can't be in the file" ;;
        esac
        [[ $seen != *" $name "* ]] || fail "$where$name is set above"
        seen+="$name "
        [[ ! $value =~ ^[[:space:]]|[[:space:]]$ ]] || fail "$where$name: there are blanks around its value"
        [[ $value != *[\"\'\\\$\`]* && ! $value =~ (^|[[:space:]])# ]] ||
            fail "$where$name: write the value as it is, without quotes, backslashes, \$, \` or a comment"
        if [ -z "${!name+set}" ]; then
            export "$name=$value"
            set_by_file+=("$name")
        fi
    done <"$file"
    [ ${#set_by_file[@]} = 0 ] || export SETTINGS_SET_BY_FILE="${set_by_file[*]}"
}

mapfile -t known_settings < <(grep -o 'CYBER_DOJO_[A-Z_]*[A-Z]' dojo/service/setting_names.py)
for name in $(compgen -e CYBER_DOJO_); do
    [ -z "${!name}" ] || refuse_unknown "$name"
done
read_settings

# The tag of this checkout's own images (cyber-dojo/*): the version, and the namespace unless it is
# the default one. Neither another version nor a pair with another namespace replaces them. With the
# tag of former images in CYBER_DOJO_TAG, compose goes back to those.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
case ${CYBER_DOJO_NAMESPACE:-cyber-dojo} in
    cyber-dojo) suffix= ;;
    *) suffix=-$CYBER_DOJO_NAMESPACE ;;
esac
export CYBER_DOJO_TAG="${CYBER_DOJO_TAG:-$version$suffix}"

# id_of IMAGE: prints the id of an image; nothing if it is not there.
id_of() {
    docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true
}

# keep_running IMAGE...: tags the images that run now as :running. If one of them replaces another,
# those that ran before become :previous, all of them, so that scripts/rollback.sh finds what
# belongs together.
keep_running() {
    local image before replaces=no ids=()
    for image; do
        ids+=("$(id_of "$image")")
        before=$(id_of "${image%:*}:running$suffix")
        [ -z "$before" ] || [ "$before" = "${ids[-1]}" ] || replaces=yes
    done
    for image; do
        before=$(id_of "${image%:*}:running$suffix")
        [ $replaces = no ] || [ -z "$before" ] || docker image tag "$before" "${image%:*}:previous$suffix"
        [ -z "${ids[0]}" ] || docker image tag "${ids[0]}" "${image%:*}:running$suffix"
        ids=("${ids[@]:1}")
    done
}

# also_latest IMAGE: gives the image the tag latest too, if it is of the default namespace.
also_latest() {
    [ "$1" != "${1%:*}:$version" ] || docker image tag "$1" "${1%:*}:latest"
}

# up_to_date IMAGE INPUTS: whether the image was built from inputs with that digest.
up_to_date() {
    [ "$(docker image inspect --format '{{index .Config.Labels "cyber-dojo.inputs"}}' "$1" 2>/dev/null)" = "$2" ]
}

# docker_build CONTEXT OPTION...: builds an image whose files everybody can read, whatever umask the
# checkout was made under. The context is CONTEXT's files.
docker_build() {
    tar --create --directory "$1" --mode=u=rwX,go=rX --owner=0 --group=0 --numeric-owner . | docker build "${@:2}" -
}

# The ids of our images whose names newer ones have taken, or are about to take.
replaced_images=build/replaced-images

# to_be_replaced IMAGE: records the id of an image that is about to be built again. An image that
# was not built here has no label and is not recorded, so it is never removed.
to_be_replaced() {
    docker image inspect --format '{{if index .Config.Labels "cyber-dojo.inputs"}}{{.Id}}{{end}}' "$1" \
        >>$replaced_images 2>/dev/null || true
}

# remove_replaced: removes the recorded images that have no name left. One that a container or
# another image uses stays recorded for the next time.
remove_replaced() {
    local id names left=()
    [ -e $replaced_images ] || return 0
    for id in $(sort -u $replaced_images); do
        names=$(docker image inspect --format '{{len .RepoTags}}' "$id" 2>/dev/null) || continue
        [ "$names" = 0 ] && docker image rm "$id" >/dev/null 2>&1 || left+=("$id")
    done
    printf '%s\n' "${left[@]}" >$replaced_images
}

# digest FILE...: prints one digest of the files' names and contents.
digest() {
    find "$@" -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum | sha256sum | cut -c 1-64
}

# wheels_of_images: sets processor, and in wheels pip's options that choose wheels for the images:
# for their Python and the engine's processor, not for those of this host. They may need at most the C
# library of Debian 12, which is glibc 2.36.
wheels_of_images() {
    local minor
    case $(docker version --format '{{.Server.Arch}}') in
        amd64) processor=x86_64 ;;
        arm64) processor=aarch64 ;;
        *) processor=$(uname --machine) ;;
    esac
    wheels=(--implementation cp --python-version 3.11 --only-binary :all: --platform "manylinux2014_$processor")
    for minor in {18..36}; do
        wheels+=(--platform "manylinux_2_${minor}_$processor")
    done
}

# use_access: says where certificates and callers are. With TLS=1, it also sets what the services and
# their callers need for TLS and tokens.
use_access() {
    local folder=${CYBER_DOJO_ACCESS_DIRECTORY:-/var/lib/${CYBER_DOJO_NAMESPACE:-cyber-dojo}/access}
    export CYBER_DOJO_ACCESS_DIRECTORY=$folder
    export CYBER_DOJO_WEB_DIRECTORY="${CYBER_DOJO_WEB_DIRECTORY:-/var/lib/${CYBER_DOJO_NAMESPACE:-cyber-dojo}/web}"
    # What the web tier keeps secret is readable by nobody but whom it runs as.
    export CYBER_DOJO_WEB_USER="${CYBER_DOJO_WEB_USER:-$(id -u):$(id -g)}"
    [ "${TLS:-}" = 1 ] || return 0
    export CYBER_DOJO_TLS_CERTIFICATE="${CYBER_DOJO_TLS_CERTIFICATE:-$folder/server.pem}"
    export CYBER_DOJO_TLS_KEY="${CYBER_DOJO_TLS_KEY:-$folder/server.key}"
    export CYBER_DOJO_CALLERS="${CYBER_DOJO_CALLERS:-$folder/callers}"
    export CYBER_DOJO_CA="${CYBER_DOJO_CA:-$folder/ca.pem}"
    # Where the web tier's container has its own, as scripts/web-access.sh makes them.
    export CYBER_DOJO_WEB_CA="${CYBER_DOJO_WEB_CA:-/web/ca.pem}"
    export CYBER_DOJO_WEB_TOKEN_FILE="${CYBER_DOJO_WEB_TOKEN_FILE:-/web/web.token}"
    [ -n "${CYBER_DOJO_TOKEN:-}" ] || export CYBER_DOJO_TOKEN_FILE="${CYBER_DOJO_TOKEN_FILE:-$folder/operator.token}"
}
