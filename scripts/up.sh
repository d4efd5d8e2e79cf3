#!/usr/bin/env bash
# Starts both services and waits until they say that they are healthy.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

services=(storer runner)
patience_seconds=60

logged compose-up scripts/compose up --detach --remove-orphans
deadline=$((SECONDS + patience_seconds))
for service in "${services[@]}"; do
    until container=$(scripts/compose ps --quiet "$service") &&
        [ "$(docker inspect --format '{{.State.Health.Status}}' "$container" 2>/dev/null)" = healthy ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            scripts/compose logs --no-color --tail 40 "$service" >&2
            fail "$service is not healthy after $patience_seconds seconds; above are its last lines" \
                "all of them: scripts/compose logs $service"
        fi
        sleep 0.5
    done
done
say "storer answers on 127.0.0.1:4577, runner on 127.0.0.1:4597"
