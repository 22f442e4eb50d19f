"""A user's own rule: from its text to the program that the core carries out."""
