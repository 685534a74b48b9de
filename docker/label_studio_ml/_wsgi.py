"""What `label-studio-ml start` and gunicorn run."""

import argparse
import os

from label_studio_ml.api import init_app
from model import CdselModel

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="cdsel as a model of label-studio-ml")
    parser.add_argument("-p", "--port", type=int, default=9090, help="port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--basic-auth-user", default=os.environ.get("BASIC_AUTH_USER"))
    parser.add_argument("--basic-auth-pass", default=os.environ.get("BASIC_AUTH_PASS"))
    options = parser.parse_args()
    app = init_app(CdselModel, options.basic_auth_user, options.basic_auth_pass)
    app.run(host=options.host, port=options.port)
else:
    app = init_app(CdselModel)
