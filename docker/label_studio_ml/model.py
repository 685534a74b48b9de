"""cdsel as a model of label-studio-ml: `label-studio-ml start .`, or gunicorn with `_wsgi:app`.

To change what annotators see filled in, subclass and override `predict`; all else works as under `cdsel serve`.
"""

from cdsel_backend.label_studio_ml import CdselModel

__all__ = ["CdselModel"]
