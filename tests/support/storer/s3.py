"""An S3-compatible store that keeps its objects in memory, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading

import boto3

from support.services import Popen, freeze

ENVIRON = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
}

_RUNNING = re.compile(r"Running on (http://[\d.]+:\d+)")


class S3Server:
    """A running store."""

    def __init__(
        self, port: int = 0, *, address: str = "127.0.0.1", popen: Popen = subprocess.Popen
    ) -> None:
        """Start the store, on a free port of the IP address by default.

        `popen` starts the process, as subprocess.Popen does.
        """
        command = [sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)]
        self._process = popen(
            command, env={**os.environ, **ENVIRON}, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        lines = iter(self._process.stderr.readline, "")
        self.url = next(match[1] for line in lines if (match := _RUNNING.search(line)))
        # Unless its log is read, the store blocks once the pipe is full.
        self._reader = threading.Thread(target=lambda: [None for _ in lines], daemon=True)
        self._reader.start()

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables by which a storer finds the store."""
        return {**ENVIRON, "AWS_ENDPOINT_URL_S3": self.url}

    def make_bucket(self, name: str) -> None:
        """Make a bucket, for a test whose own process does not know the store."""
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=ENVIRON["AWS_REGION"],
            aws_access_key_id=ENVIRON["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ENVIRON["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        client.close()

    def freeze(self) -> None:
        """Freeze the store: it takes connections, and neither answers nor refuses."""
        freeze(self._process)

    def thaw(self) -> None:
        """Let a frozen store continue."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill the store; its objects are lost."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
