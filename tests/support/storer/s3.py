"""An S3-compatible store in a process of its own, that keeps everything in memory."""

import os
import re
import subprocess
import sys
import threading

ENVIRON = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
}

_RUNNING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


class S3Server:
    """A running store."""

    def __init__(self, port: int = 0) -> None:
        """Start it, on any port that is free if none is given."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._process = subprocess.Popen(
            command, env={**os.environ, **ENVIRON}, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        lines = iter(self._process.stderr.readline, "")
        self.url = next(match[1] for line in lines if (match := _RUNNING.search(line)))
        # Read on, or it would wait for a reader of its log.
        self._reader = threading.Thread(target=lambda: [None for _ in lines], daemon=True)
        self._reader.start()

    @property
    def environ(self) -> dict[str, str]:
        """What a storer has to know of it."""
        return {**ENVIRON, "AWS_ENDPOINT_URL_S3": self.url}

    def stop(self) -> None:
        """End it, and all that it keeps."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
