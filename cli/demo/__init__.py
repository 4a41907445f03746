"""`coatcheck demo`: the whole story on a stack that is thrown away at the end."""
