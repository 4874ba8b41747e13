"""The two encoders and the dual encoder that joins them. No input or output here."""
