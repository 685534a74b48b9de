"""The base class of models."""

CACHE: dict[tuple[str, str], str] = {}


class LabelStudioMLBase:
    """A model; one is made for each request."""

    def __init__(self, project_id=None, label_config=None):
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        if not self.get("model_version"):
            self.set("model_version", "0.0.1")
        self.setup()

    def setup(self):
        """For subclasses."""

    def get(self, key):
        return CACHE.get((self.project_id, key))

    def set(self, key, value):
        CACHE[self.project_id, key] = value

    @property
    def model_version(self):
        return self.get("model_version")

    def predict(self, tasks, context=None, **kwargs):
        """For subclasses."""

    def fit(self, event, data, **kwargs):
        """For subclasses."""
