"""Data: media files, samples and batches."""
