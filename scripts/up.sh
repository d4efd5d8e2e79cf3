#!/usr/bin/env bash
# Starts both services and the web tier, and waits until they are healthy. With TLS=1 they have TLS and tokens; what is
# missing for that is made first.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

patience_seconds=60
etcd_patience_seconds=900

use_access
[ "${TLS:-}" != 1 ] || scripts/access.sh
scripts/web-access.sh

# On one of several machines: without a majority of etcd's members, the storer would end again and
# again. Those of the other machines may be started in the next minutes.
wait_for_etcd() {
    local deadline=$((SECONDS + etcd_patience_seconds)) is_told=no
    logged compose-etcd scripts/compose up --detach --no-deps etcd
    until scripts/compose exec -T -e ETCDCTL_ENDPOINTS="${CYBER_DOJO_ETCD%%,*}" etcd etcdctl endpoint health \
        </dev/null >build/logs/etcd-health.log 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            scripts/compose logs --no-color --tail 20 etcd 2>&1 | sed 's/^/   | /' >&2
            fail "most members of etcd do not answer; the end of the log of this machine's is above"
        fi
        [ $is_told = yes ] || say "waiting for most members of etcd: start the other machines too"
        is_told=yes
        sleep 0.5
    done
}
is_part() {
    [[ ",${COMPOSE_PROFILES:-}," = *,$1,* ]]
}
! is_part router || logged router-check docker run --rm --network none --cap-drop ALL --cap-add DAC_OVERRIDE \
    --volume "$CYBER_DOJO_MACHINE_DIRECTORY:/etc/cyber-dojo:ro" --volume "$CYBER_DOJO_ACCESS_DIRECTORY:$CYBER_DOJO_ACCESS_DIRECTORY:ro" \
    "cyber-dojo/haproxy:$CYBER_DOJO_TAG" -c
! is_part etcd || wait_for_etcd

state() {
    docker inspect --format '{{.State.Health.Status}} {{.RestartCount}}' "$1"
}

# anonymous_volumes: prints the volumes that hold the start points now.
anonymous_volumes() {
    { container_of languages; container_of exercises; container_of custom; } | xargs --no-run-if-empty docker inspect \
        --format '{{range .Mounts}}{{if eq .Type "volume"}}{{println .Name}}{{end}}{{end}}' | sed '/^$/d' | sort
}

# Another version replaces one that serves like this, so that nobody is refused for long:
#   1. The new version starts beside the former one, in a project of its own, and gets ready. If it
#      can't, because of a setting or anything else, it is removed, and the former one serves on.
#   2. The former one is told to stop. It stops listening at once, the new one has its address, and
#      the calls in progress end in the former one.
#   3. Compose replaces its container, which gets ready too, and takes over in the same way.
project=${COMPOSE_PROJECT_NAME:-${CYBER_DOJO_NAMESPACE:-cyber-dojo}}

# container_of SERVICE [PROJECT]: prints the id of a service's container, running or not.
container_of() {
    docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=${2:-$project}" \
        --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False
}

compose_next() {
    COMPOSE_PROJECT_NAME=$project-next scripts/compose "$@"
}

is_running() {
    [ "$(docker inspect --format '{{.State.Running}}' "$1" 2>/dev/null)" = true ]
}

config=$(scripts/compose config)
hashes=$(scripts/compose config --hash '*')

# image_of SERVICE: prints the name of the image that compose would start.
image_of() {
    awk -v service="  $1:" '/^  [a-z]+:$/ { found = $0 == service } found && $1 == "image:" { print $2 }' <<<"$config"
}

# is_replaced SERVICE: whether compose would replace the container of a service that runs.
is_replaced() {
    local container image hash
    container=$(container_of "$1")
    image=$(id_of "$(image_of "$1")")
    [ "$(docker inspect --format '{{.Image}}' "$container")" = "$image" ] || return 0
    hash=$(awk -v service="$1" '$1 == service { print $2 }' <<<"$hashes")
    [ "$(docker inspect --format '{{index .Config.Labels "com.docker.compose.config-hash"}}' "$container")" != "$hash" ]
}

# Those of a version that kept no images when it was started, so that one can go back to it.
for service in storer runner web languages exercises custom; do
    container=$(container_of "$service")
    running=$(image_of "$service")
    running=${running%:*}:running$suffix
    [ -z "$container" ] || [ -n "$(id_of "$running")" ] ||
        docker image tag "$(docker inspect --format '{{.Image}}' "$container")" "$running"
done

# can_take_over SERVICE: whether its image waits for an address; those of older versions do not.
can_take_over() {
    [[ "$(docker image inspect --format '{{.Config.Cmd}}' "$(image_of "$1")")" = *--take-over* ]]
}

# wait_ready CONTAINER: waits until the service waits for the address, or has it.
wait_ready() {
    local deadline=$((SECONDS + patience_seconds))
    until docker logs "$1" 2>&1 | grep -q -e '"event": "waiting for the address"' -e '"event": "serving"'; do
        if ! is_running "$1" || [ "$SECONDS" -ge "$deadline" ]; then
            docker logs --tail 30 "$1" 2>&1 | sed 's/^/   | /' >&2
            return 1
        fi
        sleep 0.1
    done
}

# let_next_start: starts the new version of each service that is to be replaced, beside the former.
let_next_start() {
    local service
    logged compose-next compose_next up --detach "${replaced[@]}"
    for service in "${replaced[@]}"; do
        docker update --restart no "$(container_of "$service" "$project-next")" >/dev/null
    done
    for service in "${replaced[@]}"; do
        if ! wait_ready "$(container_of "$service" "$project-next")"; then
            logged compose-next-down compose_next down --volumes
            fail "the new $service does not start; the end of its log is above" \
                "the former one serves on: nothing was changed"
        fi
    done
}

# stop_all CONTAINER...: tells them to stop at the same time, and waits until their calls have ended.
stop_all() {
    local each
    for each; do
        docker stop --time 75 "$each" >/dev/null &
    done
    wait
}

replaced=()
# One that is there was left by an upgrade that was interrupted, and may serve.
mapfile -t left < <(for service in storer runner; do container_of "$service" "$project-next"; done)
for service in storer runner; do
    container=$(container_of "$service")
    if is_running "$container" && can_take_over "$service" && is_replaced "$service"; then
        replaced+=("$service")
    fi
done
if [ ${#replaced[@]} -gt 0 ] && [ ${#left[@]} = 0 ]; then
    say "starting the new version beside the one that serves: ${replaced[*]}"
    let_next_start
    mapfile -t former < <(for service in "${replaced[@]}"; do container_of "$service"; done)
    stop_all "${former[@]}"
fi

# New images of start points get new volumes, and the storer is recreated to mount them. Compose
# leaves the former volumes behind.
former_volumes=$(anonymous_volumes)
logged compose-up scripts/compose up --detach --renew-anon-volumes --always-recreate-deps storer runner web
# What one of several machines runs too. The router reads its configuration again.
IFS=, read -ra parts <<<"${COMPOSE_PROFILES:-}"
if [ ${#parts[@]} -gt 0 ]; then
    router=$(container_of router)
    logged compose-parts scripts/compose up --detach --no-deps "${parts[@]}"
    [ -z "$router" ] || [ "$router" != "$(container_of router)" ] || docker kill --signal USR2 "$router" >/dev/null
fi
if [ ${#replaced[@]} -gt 0 ] || [ ${#left[@]} -gt 0 ]; then
    for service in storer runner; do
        wait_ready "$(container_of "$service")" || break
    done
    logged compose-next-down compose_next down --volumes
fi
comm -23 <(echo "$former_volumes") <(anonymous_volumes) | sed '/^$/d' |
    xargs --no-run-if-empty docker volume rm >/dev/null
deadline=$((SECONDS + patience_seconds))
for service in web storer runner; do
    container=$(container_of "$service")
    until read -r health restarts < <(state "$container") && [ "$health" = healthy ]; do
        problem=
        [ "$restarts" -lt 3 ] || problem="$service ends each time that it is started"
        [ "$SECONDS" -lt "$deadline" ] || problem="$service is not healthy after $patience_seconds seconds"
        if [ -n "$problem" ]; then
            scripts/compose logs --no-color --tail 30 "$service" 2>&1 | sed 's/^/   | /' >&2
            fail "$problem; the end of its log is above" "see all of it: scripts/compose logs $service"
        fi
        sleep 0.3
    done
done

# Unless a setting names another address, nobody but this machine may reach the services: they may
# ask for no password. A container on the engine's bridge stands for another machine, because it has a
# network of its own and a route to every address of this one.
python_in_container() {
    docker run --rm --interactive --read-only --cap-drop ALL --network "$1" --entrypoint python3 "$image" "${@:2}"
}
host=${CYBER_DOJO_HOST:-127.0.0.1}
ports=("${CYBER_DOJO_STORER_PORT:-4577}" "${CYBER_DOJO_RUNNER_PORT:-4597}")
closed=("${ports[@]}")
[ "${CYBER_DOJO_WEB_HOST:-127.0.0.1}" != 127.0.0.1 ] || closed+=("${CYBER_DOJO_WEB_PORT:-4500}")
if [ "$host" = 127.0.0.1 ]; then
    image=$(docker inspect --format '{{.Image}}' "$container")
    addresses=$(python_in_container host - <scripts/local_addresses.py)
    # shellcheck disable=SC2086  # one argument for each address
    open=$(python_in_container bridge - "${closed[*]}" $addresses <scripts/answering.py)
    [ -z "$open" ] || fail "other machines can reach the services at ${open//$'\n'/, }" \
        "stop them (make down), and start them from the docker-compose.yml of this checkout, which has them listen on 127.0.0.1"
fi
ruby_image=$(awk '$1 == "CYBER_DOJO_RUNNER_RUBY_IMAGE:" { print $2 }' <<<"$config")
keep_running "$(image_of storer)" "$(image_of runner)" "$(image_of web)" "$(image_of languages)" "$(image_of exercises)" \
    "$(image_of custom)" "$ruby_image"
scripts/web-address.sh
say "storer listens on $host:${ports[0]}, runner on $host:${ports[1]}"
[ "${TLS:-}" != 1 ] || say "to call them: export CYBER_DOJO_CA=$CYBER_DOJO_CA CYBER_DOJO_TOKEN_FILE=${CYBER_DOJO_TOKEN_FILE:-}"
