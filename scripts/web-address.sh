#!/usr/bin/env bash
# Says where the pages are.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

scheme=http
[ -z "${CYBER_DOJO_WEB_TLS_CERTIFICATE:-}" ] || scheme=https
address=$scheme://${CYBER_DOJO_WEB_HOST:-127.0.0.1}:${CYBER_DOJO_WEB_PORT:-4500}
say "start or join a kata in a browser: ${CYBER_DOJO_WEB_PUBLIC_URL:-$address}"
