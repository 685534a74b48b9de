"""The server."""

import os

from flask import Flask, Response, jsonify, request

from label_studio_ml.model import LabelStudioMLBase

_server = Flask(__name__)
MODEL_CLASS = LabelStudioMLBase
BASIC_AUTH = None
TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


def init_app(model_class, basic_auth_user=None, basic_auth_pass=None):
    global MODEL_CLASS, BASIC_AUTH
    if not issubclass(model_class, LabelStudioMLBase):
        raise ValueError("the class must be a subclass of LabelStudioMLBase")
    MODEL_CLASS = model_class
    user = basic_auth_user or os.environ.get("BASIC_AUTH_USER")
    password = basic_auth_pass or os.environ.get("BASIC_AUTH_PASS")
    if user and password:
        BASIC_AUTH = (user, password)
    return _server


def _model(data, config):
    return MODEL_CLASS(project_id=str(data.get("project")).split(".", 1)[0], label_config=data.get(config))


@_server.post("/predict")
def _predict():
    params = request.json.get("params", {})
    context = params.pop("context", {})
    model = _model(request.json, "label_config")
    return jsonify({"results": model.predict(request.json.get("tasks"), context=context, **params) or []})


@_server.post("/setup")
def _setup():
    return jsonify({"model_version": _model(request.json, "schema").get("model_version")})


@_server.post("/webhook")
def webhook():
    event = request.json["action"]
    if event not in TRAIN_EVENTS:
        return jsonify({"status": "Unknown event"}), 200
    project = request.json["project"]
    model = MODEL_CLASS(str(project["id"]), label_config=project["label_config"])
    return jsonify({"result": model.fit(event, request.json), "status": "ok"}), 201


@_server.get("/health")
@_server.get("/")
def health():
    return jsonify({"status": "UP", "model_class": MODEL_CLASS.__name__})


@_server.before_request
def check_auth():
    given = request.authorization
    if BASIC_AUTH is not None and (not given or (given.username, given.password) != BASIC_AUTH):
        return Response("Unauthorized", 401, {"WWW-Authenticate": 'Basic realm="Login required"'})
    return None
