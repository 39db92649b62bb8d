"""Files in a model folder besides the weights: the settings for prediction and the model card."""
