"""Which variables confound, the strata they make, and a representation without their mean effect."""
