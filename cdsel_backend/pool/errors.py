"""What goes wrong with a backbone; apart, so that whoever waits for it need not load torch."""

from __future__ import annotations


class BackboneError(ValueError):
    """A backbone that cannot be loaded; the message names the setting and the fix."""
