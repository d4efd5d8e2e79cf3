#!/usr/bin/env bash
# Starts both services and waits until they are healthy.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

patience_seconds=60
deadline=$((SECONDS + patience_seconds))

state() {
    docker inspect --format '{{.State.Health.Status}} {{.RestartCount}}' "$1"
}

# New images of start points get new volumes, and the storer is recreated to mount them.
logged compose-up scripts/compose up --detach --renew-anon-volumes --always-recreate-deps
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
say "storer listens on $(scripts/compose port storer 4577), runner on $(scripts/compose port runner 4597)"
