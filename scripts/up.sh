#!/usr/bin/env bash
# Starts both services and waits until they are healthy. With TLS=1 they have TLS and tokens; what is
# missing for that is made first.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

patience_seconds=60
deadline=$((SECONDS + patience_seconds))

use_access
[ "${TLS:-}" != 1 ] || scripts/access.sh

state() {
    docker inspect --format '{{.State.Health.Status}} {{.RestartCount}}' "$1"
}

# anonymous_volumes: prints the volumes that hold the start points now.
anonymous_volumes() {
    scripts/compose ps --all --quiet languages exercises | xargs --no-run-if-empty docker inspect \
        --format '{{range .Mounts}}{{if eq .Type "volume"}}{{println .Name}}{{end}}{{end}}' | sed '/^$/d' | sort
}

# New images of start points get new volumes, and the storer is recreated to mount them. Compose
# leaves the former volumes behind.
former_volumes=$(anonymous_volumes)
logged compose-up scripts/compose up --detach --renew-anon-volumes --always-recreate-deps
comm -23 <(echo "$former_volumes") <(anonymous_volumes) | sed '/^$/d' |
    xargs --no-run-if-empty docker volume rm >/dev/null
for service in storer runner; do
    container=$(scripts/compose ps --quiet "$service")
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
if [ "$host" = 127.0.0.1 ]; then
    image=$(docker inspect --format '{{.Image}}' "$container")
    addresses=$(python_in_container host - <scripts/local_addresses.py)
    # shellcheck disable=SC2086  # one argument for each address
    open=$(python_in_container bridge - "${ports[*]}" $addresses <scripts/answering.py)
    [ -z "$open" ] || fail "other machines can reach the services at ${open//$'\n'/, }" \
        "stop them (make down), and start them from the docker-compose.yml of this checkout, which has them listen on 127.0.0.1"
fi
say "storer listens on $host:${ports[0]}, runner on $host:${ports[1]}"
[ "${TLS:-}" != 1 ] || say "to call them: export CYBER_DOJO_CA=$CYBER_DOJO_CA CYBER_DOJO_TOKEN_FILE=${CYBER_DOJO_TOKEN_FILE:-}"
