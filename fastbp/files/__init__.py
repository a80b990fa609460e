"""Files of networks (model.py) and of runs (checkpoint.py), each written whole (replace.py)."""
