"""Predict new texts: find the models, read the texts, save finished parts, write the output file."""
