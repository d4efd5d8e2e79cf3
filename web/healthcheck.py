"""`python -m web.healthcheck HOST:PORT`: whether the web tier answers there, for compose."""

import http.client
import ssl
import sys

from dojo import channels

_SECONDS = 4.0


def main() -> None:
    """Exit with 0 if it answers, and say why not otherwise."""
    host, _, port = channels.address_of(sys.argv[1]).rpartition(":")
    is_tls = len(sys.argv) > 2 and bool(sys.argv[2])
    try:
        if is_tls:
            # It asks itself, on this machine: the certificate is of another name.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, int(port), timeout=_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, int(port), timeout=_SECONDS)
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (TimeoutError, OSError, http.client.HTTPException) as error:
        sys.exit(f"the web tier does not answer at {sys.argv[1]}: {error}")
    if status != http.HTTPStatus.OK:
        sys.exit(f"the web tier answers {status} at {sys.argv[1]}")


if __name__ == "__main__":
    main()
