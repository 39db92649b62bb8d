"""What two or more scripts must agree on: data, models, the training loop, prediction files, run folders, figures."""
