"""Which images to label next: strategies, coverage, budget allocation, reasons."""
