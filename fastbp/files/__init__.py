"""Files: of models (model.py), and how any file is given new content in one step (replace.py)."""
