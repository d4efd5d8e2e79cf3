#!/usr/bin/env bash
# Goes back to the images that ran before the last scripts/up.sh that replaced any. Once more, and it
# goes forward again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

for service in storer runner; do
    [ -n "$(id_of "cyber-dojo/$service:previous$suffix")" ] ||
        fail "there are no images to go back to: nothing was replaced yet" \
            "docker images cyber-dojo/$service lists those that there are; CYBER_DOJO_TAG=... scripts/up.sh starts them"
done
for image in web languages exercises custom ruby_lambdas; do
    # Without a former one, this one ran before too.
    [ -n "$(id_of "cyber-dojo/$image:previous$suffix")" ] || [ -z "$(id_of "cyber-dojo/$image:$CYBER_DOJO_TAG")" ] ||
        docker image tag "cyber-dojo/$image:$CYBER_DOJO_TAG" "cyber-dojo/$image:previous$suffix"
done
say "going back to the images that ran before"
CYBER_DOJO_TAG=previous$suffix exec scripts/up.sh
