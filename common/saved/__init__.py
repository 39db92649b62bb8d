"""What lies beside a saved model's weights: the settings that predicting needs, and the model card."""
