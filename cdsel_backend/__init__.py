"""A Label Studio ML backend that spends a labelling budget on images that teach the disease, not the confounder."""

__version__ = "0.1.0"
