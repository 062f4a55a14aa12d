"""What trains, as one module and as files on disk."""
