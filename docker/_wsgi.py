"""cdsel under gunicorn, without label-studio-ml: `gunicorn --bind 127.0.0.1:9090 --threads 8 _wsgi:app`.

The web server only: run `cdsel worker` beside it. Settings come from the environment, as for `cdsel serve`; have a
login (BASIC_AUTH_USER and BASIC_AUTH_PASS) wherever it can be reached from other machines.
"""

import threading

from cdsel_backend.project.connect import Connector
from cdsel_backend.server.app import create_app
from cdsel_backend.server.command import check_settings, open_once
from cdsel_backend.store import Store

server = check_settings(verbose=False)
open_once(server)
store = Store.open(server)
threading.Thread(target=Connector(server, store).run, args=(threading.Event(),), daemon=True).start()
app = create_app(server, store, insecure=not server.asks_password)
