"""Predicting new texts: which models, which rows, finished parts that outlive a kill, and the file that comes out."""
