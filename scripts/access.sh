#!/usr/bin/env bash
# Makes what is missing of a CA, a certificate for both services, and tokens, in
# CYBER_DOJO_ACCESS_DIRECTORY. It needs docker, and the storer's image.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
use_access

folder=$CYBER_DOJO_ACCESS_DIRECTORY
image=cyber-dojo/storer:$CYBER_DOJO_TAG

# In a container, because the folder may be root's. Afterwards it is the caller's: commands on this
# machine read the token there.
docker run --rm --interactive --network none --volume "$folder:$folder" --workdir "$folder" \
    --env "OWNER=$(id -u):$(id -g)" --env "HOST=${CYBER_DOJO_HOST:-}" --env "NAME=$(uname -n)" \
    --entrypoint sh "$image" -eu -s <<'END'
umask 077
chmod 700 .
if [ ! -e server.pem ]; then
    set -- --host "$NAME" --host localhost --host 127.0.0.1 --host ::1
    case $HOST in
        "" | 127.0.0.1 | ::1 | localhost) ;;
        *) set -- "$@" --host "$HOST" ;;
    esac
    cyber-dojo certificates make . "$@" >/dev/null
fi
if [ ! -e callers ]; then
    cyber-dojo token make web --role web --callers callers --output web.token
    cyber-dojo token make operator --role operator --callers callers --output operator.token
fi
chown "$OWNER" . ./*
END
say "certificates and tokens are in $folder; keep its ca.key somewhere else"
