"""Other libraries' protocols, a file each: ``from fastbp.compat import river``."""
