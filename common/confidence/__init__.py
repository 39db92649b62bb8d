"""How sure a prediction is: calibrated probabilities, and how many rows stay where the unsure ones are left out."""
