"""Texts and sentence pairs: check them, tokenise them, pad them."""
