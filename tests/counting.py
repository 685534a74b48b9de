"""A client of Label Studio that counts what it lists."""

from __future__ import annotations

from cdsel_backend.labelstudio.client import LabelStudio


class Counting(LabelStudio):
    """Counts the tasks that it lists."""

    listed = 0

    def tasks(self, *args, **options):
        for task in super().tasks(*args, **options):
            self.listed += 1
            yield task
