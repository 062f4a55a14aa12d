"""Features of frozen encoders on disk: what is kept, under which name, and how it is found."""
