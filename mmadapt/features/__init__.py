"""The features of frozen encoders: what they follow from, and the cache that keeps them."""
