"""What Howdah remembers, and who may work on what now."""
