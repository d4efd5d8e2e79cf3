"""Ask a service for its health: `python -m dojo.service.healthcheck 127.0.0.1:4577`.

Exits with 0 if it is serving, and with 1 and the reason if not. It uses standard gRPC health
checking, and is part of the project so that an image needs no other program for it.
"""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dojo.channels import open_channel
from dojo.service.settings import BadSettings, CallerSettings, load

SECONDS = 3.0


def main(address: str) -> None:
    """Check the service at `address` (host:port)."""
    try:
        opened = open_channel(address, load(CallerSettings, os.environ))
    except BadSettings as error:
        sys.exit(f"{address}: {error}")
    with opened as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=SECONDS, wait_for_ready=False
            )
        except grpc.RpcError as error:
            sys.exit(f"{address}: {error.details()}")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(f"{address}: not serving")
    print(f"{address}: serving")


if __name__ == "__main__":
    main(*sys.argv[1:])
