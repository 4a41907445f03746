"""How hard is a prompt? Labelled prompts, and the program that learns from them."""
