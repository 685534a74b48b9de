"""A Label Studio of one's own, a sample pool and a scripted annotator: what `cdsel demo` runs."""
