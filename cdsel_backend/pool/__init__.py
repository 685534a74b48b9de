"""The unlabelled pool: metadata columns, image decoding, backbones, embedding."""
