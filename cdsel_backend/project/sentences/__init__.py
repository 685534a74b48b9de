"""Every sentence that people read and that is made from facts; code compares the facts."""
