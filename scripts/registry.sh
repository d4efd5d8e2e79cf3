#!/usr/bin/env bash
# scripts/registry.sh push [IMAGE...] | pull [IMAGE...]
#
# push brings images of this machine into the registry of an installation of several machines, and
# pull brings them from there to this machine. Without IMAGE: push all that the services and the
# katas need, pull all that the registry has. Both are quick for what is there already.
#
# The registry lets in only who has a certificate of the installation's CA. So this shows the engine
# where this machine's is, in /etc/docker/certs.d.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

registry=${CYBER_DOJO_REGISTRY:-}
[ -n "$registry" ] || fail "no registry is set: CYBER_DOJO_REGISTRY" "docs/many-machines.md says what for"
access=${CYBER_DOJO_ACCESS_DIRECTORY:-}

certificates=/etc/docker/certs.d/$registry
trust() {
    as_root mkdir -p "$certificates"
    as_root install -m 644 "$access/ca.pem" "$certificates/ca.crt"
    as_root install -m 644 "$access/server.pem" "$certificates/client.cert"
    as_root install -m 600 "$access/server.key" "$certificates/client.key"
}

# ask PATH: prints the registry's answer.
ask() {
    curl --silent --show-error --fail --noproxy '*' --cacert "$access/ca.pem" \
        --cert "$access/server.pem" --key "$access/server.key" "https://$registry/v2/$1"
}

# strings KEY: prints the strings in the list of that name, of JSON as the registry writes it.
strings() {
    sed -n "s/.*\"$1\":\\[\\([^]]*\\)\\].*/\\1/p" | tr ',' '\n' | tr -d '" ' | sed '/^$/d'
}

wait_for_registry() {
    local deadline=$((SECONDS + 30))
    until ask "" >build/logs/registry-answer.log 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] ||
            fail "the registry at $registry does not answer: $(tail -n 1 build/logs/registry-answer.log)"
        sleep 0.3
    done
}

# ours: prints the images that the services need and the languages, all that are here.
ours() {
    local name image
    for name in storer runner web languages exercises custom ruby_lambdas etcd haproxy registry; do
        image=cyber-dojo/$name:$CYBER_DOJO_TAG
        [ -z "$(id_of "$image")" ] || echo "$image"
    done
    { docker images --format '{{.Repository}}:{{.Tag}}' 'cyberdojofoundation/*'
      docker images --format '{{.Repository}}:{{.Tag}}' --filter label=cyber-dojo.language
    } | grep -v '<none>' | sort -u
}

# theirs: prints the images that the registry has.
theirs() {
    local names name tags tag
    names=$(ask "_catalog?n=1000" | strings repositories)
    for name in $names; do
        tags=$(ask "$name/tags/list" | strings tags)
        for tag in $tags; do echo "$name:$tag"; done
    done
}

tagged() {
    case $1 in *:*) echo "$1" ;; *) echo "$1:latest" ;; esac
}

# through_registry VERB IMAGE COUNT: pushes or pulls an image under its name in the registry, which
# goes again.
through_registry() {
    local verb=$1 image=$2 there
    there=$registry/$image
    say "${verb}ing $image ($3)"
    if [ "$verb" = push ]; then docker tag "$image" "$there"; fi
    logged "registry-$verb" docker "$verb" "$there"
    if [ "$verb" = pull ]; then docker tag "$there" "$image"; fi
    docker rmi "$there" >/dev/null
}

verb=${1:-}
case $verb in
    push | pull) shift ;;
    *) fail "push or pull what?" "scripts/registry.sh push [IMAGE...] | pull [IMAGE...]" ;;
esac
have curl || install_packages "the registry is asked by it" curl
trust
case ",${COMPOSE_PROFILES:-}," in
    *,registry,*) logged compose-registry scripts/compose up --detach --no-deps registry ;;
esac
wait_for_registry
images=()
for image; do images+=("$(tagged "$image")"); done
if [ $# = 0 ]; then
    found=$(if [ "$verb" = push ]; then ours; else theirs; fi)
    [ -n "$found" ] || fail "there is no image to $verb"
    mapfile -t images <<<"$found"
fi
count=0
for image in "${images[@]}"; do
    count=$((count + 1))
    through_registry "$verb" "$image" "$count of ${#images[@]}"
done
