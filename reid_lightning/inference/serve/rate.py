"""How many requests a client may make: a bucket of tokens for each address, which fills steadily."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CLIENTS = 10_000  # that are remembered; the ones that asked longest ago are forgotten first


class Rate:
    """Counts the requests of clients.

    Args:
        per_minute: Requests that a client may make in a minute, at once or spread; 0: any number.
        clock: Seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when

    def wait(self, address: str) -> int:
        """Count a request, and return 0, or the seconds after which the next one is taken."""
        if not self._most:
            return 0
        client, now = _client(address), self._clock()
        left, before = self._clients.pop(client, (float(self._most), now))
        left = min(self._most, left + (now - before) * self._most / 60)
        taken = left >= 1
        self._clients[client] = (left - taken, now)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return 0 if taken else math.ceil((1 - left) * 60 / self._most)


def _client(address: str) -> str:
    """Return what one client has: an address, of IPv6 the network of a household.

    Examples:
        >>> _client("2001:db8:1:2:3:4:5:6") == _client("2001:db8:1:2::9"), _client("10.0.0.1")
        (True, '10.0.0.1')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return address
