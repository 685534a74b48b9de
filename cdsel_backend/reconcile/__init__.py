"""The loop that keeps every project going; `loop.py` says how."""
