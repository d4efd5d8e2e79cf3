#!/usr/bin/env bash
# Makes what is missing of what the web tier keeps secret, in CYBER_DOJO_WEB_DIRECTORY: the key that
# personal links are signed with, and where it needs them its token and the CA of the services. On one
# of several machines, the key is theirs. It needs docker, and the web tier's image.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
use_access

folder=$CYBER_DOJO_WEB_DIRECTORY
access=()
[ -z "${CYBER_DOJO_WEB_TOKEN_FILE:-}" ] || access=(--volume "$CYBER_DOJO_ACCESS_DIRECTORY:/access:ro")

# In a container, because the folder may be root's. What it makes is readable by nobody but whom the
# web tier runs as.
docker run --rm --interactive --network none --volume "$folder:/web" "${access[@]}" --user 0:0 \
    --env "OWNER=$CYBER_DOJO_WEB_USER" --entrypoint sh "cyber-dojo/web:$CYBER_DOJO_TAG" -eu -s <<'END'
umask 077
chmod 700 /web
if [ -e /access/web.key ]; then
    cp /access/web.key /web/key
elif [ ! -e /web/key ]; then
    head -c 48 /dev/urandom | base64 -w 0 >/web/key.part
    mv /web/key.part /web/key
fi
if [ -e /access/web.token ]; then
    cp /access/ca.pem /access/web.token /web/
fi
chown "$OWNER" /web /web/*
END
