"""What is frozen, and which blocks of encoders train along."""
