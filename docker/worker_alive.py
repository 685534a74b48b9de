"""The health check of a container that runs `cdsel worker`: whether a worker of this machine lives and gets on."""

import socket
import sys

from cdsel_backend.settings import read_server_settings
from cdsel_backend.store import Store

server = read_server_settings()
store = Store.open(server)
own = [one for one in store.pulses() if one.holder.startswith(f"{socket.gethostname()}:")]
sys.exit(0 if any(not one.dead and not one.stuck for one in own) else 1)
