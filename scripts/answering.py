"""Print which ports of which addresses answer: `answering.py "4577 4597" 192.0.2.1 192.0.2.2`.

It needs nothing but Python: scripts/up.sh has it run in a container with a network of its own.
"""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SECONDS = 1.0


def answers(address: str, port: int) -> bool:
    """Return whether something accepts a connection."""
    try:
        with socket.create_connection((address, port), timeout=SECONDS):
            return True
    except OSError:  # refused, or no way there
        return False


def main(ports: str, *addresses: str) -> None:
    """Try all ports of all addresses at once."""
    ways = [(address, int(port)) for address in addresses for port in ports.split()]
    with ThreadPoolExecutor(max_workers=32) as pool:
        found = pool.map(lambda way: answers(*way), ways)
        for (address, port), is_open in zip(ways, found, strict=True):
            if is_open:
                print(f"{address} port {port}")


if __name__ == "__main__":
    main(*sys.argv[1:])
