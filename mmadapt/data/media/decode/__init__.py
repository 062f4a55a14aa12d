"""The decoders; they run in the reader process and import no torch."""
