"""Print the machine's IP addresses that other machines can use, one on a line.

It needs nothing but Linux: scripts/up.sh has it run in a container in the machine's network.
"""

import ipaddress
import re
from pathlib import Path


def addresses() -> set[str]:
    """Return all addresses but those of the loopback device and of single links."""
    routes = Path("/proc/net/fib_trie").read_text(encoding="ascii")
    found = set(re.findall(r"([\d.]+)\n +/32 host LOCAL", routes))
    ipv6 = Path("/proc/net/if_inet6")
    for line in ipv6.read_text(encoding="ascii").splitlines() if ipv6.exists() else ():
        found.add(str(ipaddress.IPv6Address(int(line.split()[0], 16))))
    return {each for each in found if not _is_local(ipaddress.ip_address(each))}


def _is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local


if __name__ == "__main__":
    print(*sorted(addresses()), sep="\n")
