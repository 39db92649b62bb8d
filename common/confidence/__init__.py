"""How certain predictions are: calibration, and accuracy against coverage."""
