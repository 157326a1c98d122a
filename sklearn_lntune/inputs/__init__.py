"""The input: check it, tokenise it once, hand it out in batches of like length.

Nothing above this room knows that a row is text.
"""
