"""What goes out: the only part that calls Label Studio."""
